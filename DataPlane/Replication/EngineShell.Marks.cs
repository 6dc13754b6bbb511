namespace Pollux.DataPlane.Replication;

// The durable marks.
internal abstract partial class EngineShell
{
    private readonly MarkFiles _markFiles;

    public void StoreLogSector(int group, long offsetBytes, ReadOnlySpan<byte> sector)
    {
        var bytes = sector.ToArray();
        Begin(() => _markFiles.StoreSector(offsetBytes, bytes), error => LogSectorStored(group, error));
    }

    public void StoreCheckpoint(ReadOnlyMemory<byte> image) => Begin(() => _markFiles.StoreCheckpoint(image), CheckpointStored);

    public void ReplaceLog(ReadOnlyMemory<byte> image) => Begin(() => _markFiles.ReplaceLog(image), LogReplaced);

    protected virtual void LogSectorStored(int group, int errno) => throw Unasked();

    protected abstract void CheckpointStored(int errno);

    protected abstract void LogReplaced(int errno);
}
