namespace Pollux.Tests.Simulation.Model;

// The module's own files: a log whose sectors are written in place with O_DSYNC, and files that are replaced as a whole.
internal sealed partial class SimDisk
{
    private readonly SortedDictionary<string, byte[]> metadata = new(StringComparer.Ordinal);
    private readonly List<PendingMetadata> metadataUnderWay = [];

    private sealed record PendingMetadata(string Name, long OffsetBytes, byte[] Data, bool Replaces);

    /// <summary>Grows with every change of a metadata file.</summary>
    public long MetadataVersion { get; private set; }

    /// <summary>A metadata file's bytes, or null if there is none.</summary>
    public byte[]? Metadata(string name) => metadata.GetValueOrDefault(name);

    /// <summary>A write in place, synchronous: stable when it has ended; torn at sectors if the power fails before.</summary>
    /// <returns>Ends it, with a Linux error number.</returns>
    public Func<int> WriteMetadata(string name, long offsetBytes, ReadOnlySpan<byte> data) =>
        Begin(new PendingMetadata(name, offsetBytes, data.ToArray(), Replaces: false));

    /// <summary>Temporary file, fsync, rename, fsync of the directory: the old or the new content, whole.</summary>
    /// <returns>Ends it, with a Linux error number.</returns>
    public Func<int> ReplaceMetadata(string name, ReadOnlySpan<byte> data) =>
        Begin(new PendingMetadata(name, 0, data.ToArray(), Replaces: true));

    /// <summary>What lies dormant on the disk is damaged: a bit of a metadata file, its end, or all of it.</summary>
    public bool DamageMetadata(string name, SeededRandom random)
    {
        if (!metadata.TryGetValue(name, out var content) || content.Length == 0)
            return false;
        MetadataVersion++;
        switch (random.Between(0, 2))
        {
            case 0:
                content = content.ToArray();
                content[random.Between(0, content.Length - 1)] ^= (byte)(1 << (int)random.Between(0, 7));
                metadata[name] = content;
                break;
            case 1: metadata[name] = content[..(int)random.Between(0, content.Length - 1)]; break;
            default: metadata.Remove(name); break;
        }
        return true;
    }

    private Func<int> Begin(PendingMetadata write)
    {
        metadataUnderWay.Add(write);
        return () =>
        {
            if (!metadataUnderWay.Remove(write))
                return Linux.EIO;
            if (MetadataErrno != 0)
                return MetadataErrno;
            Put(write);
            return 0;
        };
    }

    private void Put(PendingMetadata write)
    {
        MetadataVersion++;
        if (write.Replaces)
        {
            metadata[write.Name] = write.Data;
            return;
        }
        var content = metadata.GetValueOrDefault(write.Name) ?? [];
        var length = Math.Max(content.Length, write.OffsetBytes + write.Data.Length);
        if (content.Length < length)
            Array.Resize(ref content, (int)length);
        write.Data.CopyTo(content, write.OffsetBytes);
        metadata[write.Name] = content;
    }

    private void MetadataProcessDies(Choose choose)
    {
        foreach (var write in metadataUnderWay)
        {
            if (choose(2) == 1)
                Put(write);
        }
        metadataUnderWay.Clear();
    }

    private void MetadataLosesPower(Choose choose)
    {
        foreach (var write in metadataUnderWay)
        {
            if (write.Replaces)
            {
                if (choose(2) == 1)
                    Put(write);
                continue;
            }
            for (var from = 0; from < write.Data.Length; from += SectorBytes)
            {
                if (choose(2) == 1)
                    Put(write with { OffsetBytes = write.OffsetBytes + from, Data = write.Data[from..Math.Min(from + SectorBytes, write.Data.Length)] });
            }
        }
        metadataUnderWay.Clear();
    }
}
