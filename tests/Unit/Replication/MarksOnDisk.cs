using Pollux.DataPlane.Replication;

namespace Pollux.Tests.Unit.Replication;

/// <summary>The durable marks of a module with its files in a directory; each store is done at once, on the calling thread.</summary>
internal sealed class MarksOnDisk : IMarksStore, IDisposable
{
    private readonly MarkFiles _files;

    public MarksOnDisk(string directory, int slots = ActivityLogImage.SlotsPerGroup, ResyncPart part = ResyncPart.None)
    {
        (_files, Recovered) = MarkFiles.Open(directory, slots, part);
        Machine = new MarksMachine(Recovered, DirtyMap.PagesMaxDefault, this);
    }

    public RecoveredMarks Recovered { get; }

    public MarksMachine Machine { get; }

    /// <summary>Stores that were done.</summary>
    public int SectorsStored { get; private set; }

    /// <summary>Has the extents of a range active and pinned; false if there is no room.</summary>
    /// <param name="slot">The operation's slot in the ledger.</param>
    public bool Activate(int slot, ulong obj, long offsetBytes, long lengthBytes)
    {
        // Without room the first attempt asks for a checkpoint; with room it waits for the sector.
        for (var attempt = 0; attempt < 3; attempt++)
        {
            if (Machine.Activate(slot, obj, offsetBytes, offsetBytes + lengthBytes) == MarksMachine.Activity.Active)
                return true;
            Machine.FinishTurn();
        }
        return false;
    }

    /// <summary>A write as the engine marks it.</summary>
    public void Write(ulong obj, long offsetBytes, long lengthBytes)
    {
        Assert.True(Activate(0, obj, offsetBytes, lengthBytes));
        Machine.Map.MarkWritten(obj, offsetBytes, lengthBytes);
        Machine.Release(0);
    }

    public void StoreLogSector(int group, long offsetBytes, ReadOnlySpan<byte> sector)
    {
        SectorsStored++;
        Machine.LogSectorStored(group, _files.StoreSector(offsetBytes, sector));
    }

    public void StoreCheckpoint(ReadOnlyMemory<byte> image) => Machine.CheckpointStored(_files.StoreCheckpoint(image));

    public void ReplaceLog(ReadOnlyMemory<byte> image) => Machine.LogReplaced(_files.ReplaceLog(image));

    public void Dispose() => _files.Dispose();
}
