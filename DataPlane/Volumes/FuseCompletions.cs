using System.Collections.Concurrent;
using Pollux.DataPlane.Fuse;

namespace Pollux.DataPlane.Volumes;

/// <summary>Turns the ends of writes and flushes into replies to the kernel. It exists before the volume serves, because the engine takes
/// it when it starts to serve; the <see cref="FuseVolume"/> of each directory is connected to it afterwards.</summary>
/// <remarks>The tag's device carries, besides the index of the descriptor, the directory whose mount has asked, and what was asked:
/// <code>
///   Write ──────────────────────────────► reply WRITE
///   Flush ──────────────────────────────► reply FSYNC
///   StableWrite ─► Flush of the object ─► reply WRITE      (file opened with O_DSYNC or O_SYNC)
/// </code></remarks>
public sealed class FuseCompletions : IVolumeCompletions
{
    private const int KindShift = 36;
    private const int DirectoryShift = 32;
    private const ulong DirectoryMask = (1UL << (KindShift - DirectoryShift)) - 1;
    private readonly ConcurrentDictionary<OperationTag, StableWrite> _stableWrites = new();
    private readonly Connection?[] _connections = new Connection?[ModuleRoots.DirectoriesMax];

    private enum Kind : ulong
    {
        Write = 0,
        Flush = 1,
        StableWrite = 2,
    }

    public void Completed(OperationTag tag, int errno, int count)
    {
        var connection = Volatile.Read(ref _connections[(tag.Device >> DirectoryShift) & DirectoryMask])
            ?? throw new InvalidOperationException("A completion came before any request: no front end is connected.");
        var token = new FuseReplyToken(tag.Unique, (int)(uint)tag.Device);
        var error = VolumeErrno.ForKernel(errno);
        switch ((Kind)(tag.Device >> KindShift))
        {
            case Kind.Write when error == 0:
                connection.Replier.Written(token, (uint)count);
                break;
            case Kind.StableWrite:
                CompleteStableWrite(connection, tag, token, error, count);
                break;
            default:
                connection.Replier.Error(token, error);
                break;
        }
    }

    internal static OperationTag ForWrite(FuseReplyToken token, int directory) => Tag(token, directory, Kind.Write);

    internal static OperationTag ForFlush(FuseReplyToken token, int directory) => Tag(token, directory, Kind.Flush);

    /// <summary>A write that is answered only when it is stable.</summary>
    internal OperationTag ForStableWrite(FuseReplyToken token, int directory, ulong obj, bool dataOnly)
    {
        var tag = Tag(token, directory, Kind.StableWrite);
        _stableWrites[tag] = new StableWrite(obj, dataOnly, -1);
        return tag;
    }

    internal void Connect(int directory, IModuleVolume volume, FuseReplier replier) =>
        Volatile.Write(ref _connections[directory], new Connection(volume, replier));

    private static OperationTag Tag(FuseReplyToken token, int directory, Kind kind) =>
        new(token.Unique, (ulong)kind << KindShift | (ulong)directory << DirectoryShift | (uint)token.Device);

    private void CompleteStableWrite(Connection connection, OperationTag tag, FuseReplyToken token, int error, int count)
    {
        if (!_stableWrites.TryRemove(tag, out var write))
            throw new InvalidOperationException($"The volume completed request {tag.Unique} twice.");
        if (error != 0)
        {
            connection.Replier.Error(token, error);
        }
        else if (write.WrittenBytes >= 0)
        {
            connection.Replier.Written(token, (uint)write.WrittenBytes);
        }
        else
        {
            _stableWrites[tag] = write with { WrittenBytes = count };
            connection.Volume.Flush(write.Object, write.DataOnly, tag);
        }
    }

    private sealed record Connection(IModuleVolume Volume, FuseReplier Replier);

    /// <param name="WrittenBytes">-1 while the write itself is under way, then the count that the flush will confirm.</param>
    private readonly record struct StableWrite(ulong Object, bool DataOnly, int WrittenBytes);
}
