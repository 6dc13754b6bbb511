using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>Where a volume stops to answer.</summary>
internal enum Stall
{
    None,

    /// <summary>Nothing of a request is done.</summary>
    BeforeItIsDone,

    /// <summary>All of it is done; only the answer is missing.</summary>
    AfterItIsDone,
}

/// <summary>A volume that stops to answer reads, writes, flushes and mutations on demand, as one does whose process is about to die.</summary>
/// <param name="held">Called for each request that will never be answered, when it has come that far.</param>
internal sealed class StallingVolume(Action<string> held) : IModuleVolume, IVolumeCompletions
{
    private volatile Stall _stall;

    public IModuleVolume Volume { get; set; } = null!;

    /// <summary>Where the answers go.</summary>
    public IVolumeCompletions Completions { get; set; } = null!;

    public Stall Stall
    {
        get => _stall;
        set => _stall = value;
    }

    public void Completed(OperationTag tag, int errno, int count)
    {
        if (_stall == Stall.None)
            Completions.Completed(tag, errno, count);
        else
            held($"completion {errno}");
    }

    public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes) => Volume.Lookup(parent, name, out attributes);

    public void Forget(ulong obj, ulong count) => Volume.Forget(obj, count);

    public int GetAttributes(ulong obj, out ObjectAttributes attributes) => Volume.GetAttributes(obj, out attributes);

    public int ReadLink(ulong obj, Span<byte> target, out int length) => Volume.ReadLink(obj, target, out length);

    public int Open(ulong obj, int flags, out ulong handle) => Volume.Open(obj, flags, out handle);

    public void Close(ulong handle) => Volume.Close(handle);

    public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count)
    {
        var result = Volume.Read(handle, offsetBytes, buffer, out count);
        if (_stall != Stall.None)
        {
            held("read");
            Thread.Sleep(Timeout.Infinite);
        }

        return result;
    }

    public int Seek(ulong handle, long offsetBytes, int whence, out long result) => Volume.Seek(handle, offsetBytes, whence, out result);

    public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit) => Volume.ReadDirectory(handle, cookie, visit);

    public void Reference(ulong obj) => Volume.Reference(obj);

    public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length) => Volume.GetXattr(obj, name, value, out length);

    public int ListXattr(ulong obj, Span<byte> names, out int length) => Volume.ListXattr(obj, names, out length);

    public int StatFs(ulong obj, out VolumeSpace space) => Volume.StatFs(obj, out space);

    public void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag)
    {
        if (_stall == Stall.BeforeItIsDone)
            held("write");
        else
            Volume.Write(obj, offsetBytes, data, tag);
    }

    public void Flush(ulong obj, bool dataOnly, OperationTag tag)
    {
        if (_stall == Stall.BeforeItIsDone)
            held("flush");
        else
            Volume.Flush(obj, dataOnly, tag);
    }

    public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed)
    {
        if (_stall == Stall.BeforeItIsDone)
        {
            held($"{mutation.Kind}");
            return;
        }

        Volume.Mutate(mutation, (errno, attributes) =>
        {
            if (_stall == Stall.None)
                completed(errno, attributes);
            else
                held($"{mutation.Kind} {errno}");
        });
    }
}
