namespace Pollux.Tests.Simulation.Model;

/// <summary>One file's content on a <see cref="SimDisk"/>.</summary>
internal sealed class SimFile(ulong obj, List<(ulong Object, long Sector)> touched)
{
    private readonly SortedList<long, Sector> sectors = [];
    private readonly List<Sector> unflushed = [];
    private readonly List<(long Version, long SizeBytes)> sizesUnflushed = [];
    private long sizeStable;

    public ulong Object => obj;

    public long SizeBytes { get; private set; }

    /// <summary>The content of a sector; null reads as zeros. Never changed in place.</summary>
    public byte[]? Content(long sector) => sectors.GetValueOrDefault(sector)?.Now;

    /// <summary>What a loss of power would leave at worst.</summary>
    public byte[]? Stable(long sector) => sectors.GetValueOrDefault(sector)?.Stable;

    /// <summary>One of these is what a loss of power leaves of a sector, cut to one of <see cref="SizesAfterLoss"/>.</summary>
    public IEnumerable<byte[]?> ContentsAfterLoss(long sector) => sectors.GetValueOrDefault(sector)?.AfterLoss ?? [null];

    public IEnumerable<long> SizesAfterLoss => sizesUnflushed.Select(static entry => entry.SizeBytes).Prepend(sizeStable);

    public IEnumerable<(long Sector, byte[] Content)> Written
    {
        get
        {
            foreach (var (index, sector) in sectors)
            {
                if (sector.Now is { } content)
                    yield return (index, content);
            }
        }
    }

    public void Write(long version, long offsetBytes, ReadOnlySpan<byte> data)
    {
        var end = offsetBytes + data.Length;
        for (var sector = offsetBytes / SimDisk.SectorBytes; sector * SimDisk.SectorBytes < end; sector++)
        {
            var start = sector * SimDisk.SectorBytes;
            var from = Math.Max(offsetBytes, start);
            var to = Math.Min(end, start + SimDisk.SectorBytes);
            var piece = data[(int)(from - offsetBytes)..(int)(to - offsetBytes)];
            var old = Content(sector);
            // Zeros over a hole, as a copy brings many: the file system may keep a hole or not, no reader can tell.
            if (old is null && piece.IndexOfAnyExcept((byte)0) < 0)
                continue;
            var content = new byte[SimDisk.SectorBytes];
            if (piece.Length < SimDisk.SectorBytes)
                old?.CopyTo(content, 0);
            piece.CopyTo(content.AsSpan((int)(from - start)));
            Put(version, sector, content);
        }
        if (end > SizeBytes)
            PutSize(version, end);
    }

    public int Read(long offsetBytes, Span<byte> buffer)
    {
        var count = (int)Math.Clamp(SizeBytes - offsetBytes, 0, buffer.Length);
        buffer = buffer[..count];
        buffer.Clear();
        var end = offsetBytes + count;
        for (var sector = offsetBytes / SimDisk.SectorBytes; sector * SimDisk.SectorBytes < end; sector++)
        {
            if (Content(sector) is not { } content)
                continue;
            var start = sector * SimDisk.SectorBytes;
            var from = Math.Max(offsetBytes, start);
            var to = Math.Min(end, start + SimDisk.SectorBytes);
            content.AsSpan((int)(from - start), (int)(to - from)).CopyTo(buffer[(int)(from - offsetBytes)..]);
        }
        return count;
    }

    /// <summary>The first byte at or after the offset that lies in data, or the file's size.</summary>
    public long NextData(long offsetBytes)
    {
        var first = offsetBytes / SimDisk.PageBytes * (SimDisk.PageBytes / SimDisk.SectorBytes);
        foreach (var (sector, held) in sectors)
        {
            if (sector >= first && held.Now is not null && sector * SimDisk.SectorBytes < SizeBytes)
                return Math.Max(offsetBytes, sector * SimDisk.SectorBytes / SimDisk.PageBytes * SimDisk.PageBytes);
        }
        return SizeBytes;
    }

    /// <summary>The end of the data that the offset lies in.</summary>
    public long NextHole(long offsetBytes)
    {
        var page = offsetBytes / SimDisk.PageBytes;
        foreach (var (sector, held) in sectors)
        {
            var at = sector * SimDisk.SectorBytes / SimDisk.PageBytes;
            if (at < page || held.Now is null)
                continue;
            if (at > page + 1)
                break;
            page = at;
        }

        return Math.Min((page + 1) * SimDisk.PageBytes, SizeBytes);
    }

    public void SetSize(long version, long sizeBytes)
    {
        if (sizeBytes < SizeBytes)
            Punch(version, sizeBytes, SizeBytes - sizeBytes);
        PutSize(version, sizeBytes);
    }

    public void Punch(long version, long offsetBytes, long lengthBytes)
    {
        var end = lengthBytes > long.MaxValue - offsetBytes ? long.MaxValue : offsetBytes + lengthBytes;
        foreach (var (sector, held) in sectors)
        {
            var start = sector * SimDisk.SectorBytes;
            if (held.Now is not { } old || start >= end || start + SimDisk.SectorBytes <= offsetBytes)
                continue;
            if (offsetBytes <= start && start + SimDisk.SectorBytes <= end)
            {
                Put(version, sector, null);
                continue;
            }
            var content = old.ToArray();
            var from = (int)Math.Max(offsetBytes - start, 0);
            content.AsSpan(from, (int)Math.Min(end - start, SimDisk.SectorBytes) - from).Clear();
            Put(version, sector, content);
        }
    }

    /// <summary>A flush that began then has something to write.</summary>
    public bool HasDirty(long begun) => unflushed.Exists(sector => sector.IsDirtyAt(begun));

    /// <param name="failed">Write-back did not work: the pages count as written, and are not stable.</param>
    public void Flush(long begun, bool failed)
    {
        for (var i = unflushed.Count - 1; i >= 0; i--)
        {
            if (unflushed[i].Flush(begun, failed))
                unflushed.RemoveAt(i);
        }
        // Lengths are journalled: they wait for the next flush.
        var last = sizesUnflushed.FindLastIndex(entry => entry.Version <= begun);
        if (last < 0 || failed)
            return;
        sizeStable = sizesUnflushed[last].SizeBytes;
        sizesUnflushed.RemoveRange(0, last + 1);
    }

    /// <summary>Write-back by the kernel itself fails for some pages: they count as written from now on.</summary>
    /// <returns>Whether there were any.</returns>
    public bool FailWriteback(long begun, Choose choose)
    {
        var any = false;
        foreach (var sector in unflushed.Where(sector => sector.IsDirty && choose(2) == 1))
        {
            sector.Flush(begun, failed: true);
            any = true;
        }
        return any;
    }

    /// <summary>Clean pages leave the memory: what a failed write-back has dropped is again what the disk holds.</summary>
    /// <param name="leaves">Whether a page goes.</param>
    /// <returns>Whether any was of those.</returns>
    public bool Evict(long version, Func<bool> leaves)
    {
        var any = false;
        for (var i = unflushed.Count - 1; i >= 0; i--)
        {
            if (!unflushed[i].IsDropped || !leaves())
                continue;
            any = true;
            if (unflushed[i].Evict(version, SizeBytes))
                unflushed.RemoveAt(i);
        }
        return any;
    }

    public void LosePower(Choose choose)
    {
        var chosen = choose(1 + sizesUnflushed.Count);
        SizeBytes = sizeStable = chosen == 0 ? sizeStable : sizesUnflushed[chosen - 1].SizeBytes;
        sizesUnflushed.Clear();
        foreach (var sector in unflushed)
            sector.LosePower(choose);
        unflushed.Clear();
        foreach (var sector in sectors.Values)
            sector.CutTo(SizeBytes);
    }

    private void Put(long version, long index, byte[]? content)
    {
        if (!sectors.TryGetValue(index, out var sector))
            sectors.Add(index, sector = new Sector(index));
        touched.Add((obj, index));
        if (sector.Put(version, content))
            unflushed.Add(sector);
    }

    private void PutSize(long version, long sizeBytes)
    {
        SizeBytes = sizeBytes;
        sizesUnflushed.Add((version, sizeBytes));
    }

    private sealed class Sector(long index)
    {
        /// <summary>What may still become stable. A hole is journalled, so a failed write-back concerns only what has content.</summary>
        private readonly List<(long Version, byte[]? Content)> since = [];

        /// <summary>Is to be flushed, or was dropped by a write-back that failed: readable, and not stable before it is written again.</summary>
        private bool listed;

        public byte[]? Now { get; private set; }

        public byte[]? Stable { get; private set; }

        public IEnumerable<byte[]?> AfterLoss => since.Select(static entry => entry.Content).Prepend(Stable);

        /// <summary>Has content that will be written back.</summary>
        public bool IsDirty => since.Exists(entry => entry.Content is not null);

        public bool IsDirtyAt(long begun) => since.Exists(entry => entry.Version <= begun && entry.Content is not null);

        /// <summary>Shows what will never be written back.</summary>
        public bool IsDropped => !ReferenceEquals(Now, Kept);

        private byte[]? Kept => since.Count > 0 ? since[^1].Content : Stable;

        /// <returns>True if it has become one that is to be flushed.</returns>
        public bool Put(long version, byte[]? content)
        {
            Now = content;
            since.Add((version, content));
            var first = !listed;
            listed = true;
            return first;
        }

        /// <returns>True if nothing is left to be flushed.</returns>
        public bool Flush(long begun, bool failed)
        {
            var last = since.FindLastIndex(entry => entry.Version <= begun);
            if (failed)
            {
                since.RemoveAll(entry => entry.Version <= begun && entry.Content is not null);
            }
            else if (last >= 0)
            {
                Stable = since[last].Content;
                since.RemoveRange(0, last + 1);
            }
            listed = since.Count > 0 || IsDropped;
            return !listed;
        }

        public void LosePower(Choose choose)
        {
            var chosen = choose(1 + since.Count);
            Now = Stable = chosen == 0 ? Stable : since[chosen - 1].Content;
            since.Clear();
            listed = false;
        }

        /// <returns>True: nothing is left to be flushed.</returns>
        public bool Evict(long version, long sizeBytes)
        {
            Now = Cut(Kept, sizeBytes - index * SimDisk.SectorBytes);
            // Behind the end of the file the file system makes zeros, and writes them.
            if (IsDropped)
                since.Add((version, Now));
            return !(listed = since.Count > 0);
        }

        public void CutTo(long sizeBytes) => Now = Stable = Cut(Now, sizeBytes - index * SimDisk.SectorBytes);

        private static byte[]? Cut(byte[]? content, long bytes)
        {
            if (content is null || bytes >= SimDisk.SectorBytes)
                return content;
            if (bytes <= 0)
                return null;
            content = content.ToArray();
            content.AsSpan((int)bytes).Clear();
            return content;
        }
    }
}
