namespace Pollux.DataPlane.Core.Replication;

/// <summary>Knows the files that are flushed after nearly each write, so that the flush can begin before it is asked for. Not thread-safe;
/// nothing is allocated. What it says is a guess: it costs or saves time and changes nothing else.</summary>
/// <param name="operations">About how many writes and flushes of a file back the guess looks.</param>
public sealed class FlushHabit(int operations)
{
    /// <summary>Files that are remembered. Ids are given in a row, so that those of a module's disks have places of their own.</summary>
    public const int FilesMax = 64;

    /// <summary>Two of five operations are flushes: a flush for each write is a half, and of several writers all may write before the first
    /// flushes.</summary>
    private const double ShareMin = 0.4;

    private readonly File[] _files = new File[FilesMax];

    /// <summary>The file was written.</summary>
    /// <param name="dataOnly">What the last flush was.</param>
    /// <returns>True: it is in the habit, so a flush will come soon.</returns>
    public bool Written(ulong obj, out bool dataOnly)
    {
        ref var file = ref _files[obj % FilesMax];
        if (file.Object != obj)
            file = new File { Object = obj };
        var expected = file.FlushShare >= ShareMin;
        file.FlushShare -= file.FlushShare / operations;
        dataOnly = file.DataOnly;
        return expected;
    }

    /// <summary>A flush of the file is asked for.</summary>
    public void Flushed(ulong obj, bool dataOnly)
    {
        ref var file = ref _files[obj % FilesMax];
        if (file.Object != obj)
            return;
        file.FlushShare += (1 - file.FlushShare) / operations;
        file.DataOnly = dataOnly;
    }

    private struct File
    {
        public ulong Object;

        /// <summary>Of the last operations, 1 being all.</summary>
        public double FlushShare;
        public bool DataOnly;
    }
}
