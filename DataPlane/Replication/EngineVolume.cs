using System.Diagnostics.CodeAnalysis;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

/// <summary>The volume of a module while this host serves it. Looks and reads go to the local copy, on the caller's thread, as far as the
/// <see cref="ReadGate"/> is open; writes, flushes and mutations go to the event loop. Any thread.</summary>
internal sealed class EngineVolume(SourceShell shell, IVolumeCompletions completions) : ILoopVolume
{
    private readonly object _lock = new();
    private volatile bool _freezing;
    private volatile ReadGate _gate;

    public FuseLoop Loop => shell.Place.Fuse;

    /// <summary>A freeze was asked for and the machine does not know yet: reads and ends of operations are held already (rule S8).</summary>
    public bool Freezing => _freezing;

    private ObjectStore Store => shell.Store;

    private VolumeReferences References => shell.References;

    /// <summary>A creation or a link gives the front end a reference.</summary>
    public static bool GivesReference(MutationKind kind) =>
        kind is MutationKind.CreateFile or MutationKind.MakeDirectory or MutationKind.MakeNode or MutationKind.Symlink or MutationKind.Link;

    public void BeginFreezing() => _freezing = true;

    /// <summary>The machine knows.</summary>
    public void EndFreezing() => _freezing = false;

    /// <summary>The loop's thread.</summary>
    public void SetGate(ReadGate gate)
    {
        if (_gate == gate)
            return;
        lock (_lock)
        {
            _gate = gate;
            Monitor.PulseAll(_lock);
        }
    }

    public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes)
    {
        attributes = default;
        if (!MayRead())
            return Errno.EIO;
        var error = Store.Lookup(parent, name, out attributes);
        if (error == 0)
            References.Add(attributes.Object);
        return error;
    }

    public void Reference(ulong obj) => References.Add(obj);

    public void Forget(ulong obj, ulong count)
    {
        if (References.Drop(obj, count))
            shell.Place.Loop.Post(() => shell.Unreferenced(obj));
    }

    public int GetAttributes(ulong obj, out ObjectAttributes attributes)
    {
        attributes = default;
        return MayRead() ? Store.GetAttributes(obj, out attributes) : Errno.EIO;
    }

    public int ReadLink(ulong obj, Span<byte> target, out int length)
    {
        length = 0;
        return MayRead() ? Store.ReadLink(obj, target, out length) : Errno.EIO;
    }

    /// <remarks>A handle is the object's id: an open file has no state of its own here.</remarks>
    public int Open(ulong obj, int flags, out ulong handle)
    {
        handle = obj;
        if (!MayRead())
            return Errno.EIO;
        var error = Store.Open(obj, flags);
        if (error == 0)
            References.Add(obj);
        return error;
    }

    public void Close(ulong handle) => Forget(handle, 1);

    public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count)
    {
        count = 0;
        if (!MayRead())
            return Errno.EIO;
        var error = Store.Read(handle, offsetBytes, buffer, out count);
        // The lease may have ended during the read: what was read then is not given out either (rule S8).
        return MayRead() ? error : Errno.EIO;
    }

    public bool GivesReads => !_freezing && _gate == ReadGate.Open;

    public bool TryHold(ulong handle, [NotNullWhen(true)] out IRingFile? file) => Store.TryHold(handle, out file);

    public bool TryReadOnLoop(ulong handle, long offsetBytes, Span<byte> target, out int errno, out int count)
    {
        (errno, count) = (0, 0);
        if (!GivesReads)
            return false;
        errno = Store.ReadNow(handle, offsetBytes, target, out count);
        return errno != Errno.EAGAIN && !_freezing;
    }

    public int Seek(ulong handle, long offsetBytes, int whence, out long result)
    {
        result = 0;
        return MayRead() ? Store.Seek(handle, offsetBytes, whence, out result) : Errno.EIO;
    }

    public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit) =>
        MayRead() ? Store.ReadDirectory(handle, cookie, visit) : Errno.EIO;

    public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length)
    {
        length = 0;
        return MayRead() ? Store.GetXattr(obj, name, value, out length) : Errno.EIO;
    }

    public int ListXattr(ulong obj, Span<byte> names, out int length)
    {
        length = 0;
        return MayRead() ? Store.ListXattr(obj, names, out length) : Errno.EIO;
    }

    public int StatFs(ulong obj, out VolumeSpace space)
    {
        space = default;
        try
        {
            return MayRead() ? Store.StatFs(obj, out space) : Errno.EIO;
        }
        catch (ObjectDisposedException)
        {
            // The volume was shut in between.
            return Errno.EIO;
        }
    }

    public void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag)
    {
        if (Refuses(obj, offsetBytes, data.Length, out var error))
        {
            completions.Completed(tag, error, 0);
            return;
        }
        var copy = data.ToArray();
        if (!shell.Place.Loop.Post(() => shell.Admit(() => WriteCopied(obj, offsetBytes, copy, tag))))
            completions.Completed(tag, Errno.EIO, 0);
    }

    public void WriteOnLoop(ulong obj, long offsetBytes, int buffer, int lengthBytes, OperationTag tag)
    {
        if (Refuses(obj, offsetBytes, lengthBytes, out var error))
            completions.Completed(tag, error, 0);
        else
            shell.Write(obj, offsetBytes, buffer, lengthBytes, tag);
    }

    public void Flush(ulong obj, bool dataOnly, OperationTag tag)
    {
        if (obj != 0 && _gate != ReadGate.Closed && !Store.Exists(obj))
            completions.Completed(tag, Errno.ESTALE, 0);
        else if (shell.Place.Loop.IsCurrent)
            shell.Flush(obj, dataOnly, tag);
        else
            FlushFromElsewhere(obj, dataOnly, tag);
    }

    private void FlushFromElsewhere(ulong obj, bool dataOnly, OperationTag tag)
    {
        if (!shell.Place.Loop.Post(() => shell.Admit(() => shell.Flush(obj, dataOnly, tag))))
            completions.Completed(tag, Errno.EIO, 0);
    }

    public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed)
    {
        if (!MutationCodec.Fits(mutation))
            completed(mutation.Name.Length > 255 || mutation.NewName.Length > 255 ? Errno.ENAMETOOLONG : Errno.E2BIG, default);
        else if (!shell.Place.Loop.Post(() => shell.Admit(() => shell.Mutate(mutation, completed))))
            completed(Errno.EIO, default);
    }

    private bool Refuses(ulong obj, long offsetBytes, int lengthBytes, out int error)
    {
        error = offsetBytes < 0 || lengthBytes > FrameHeader.DataBytesMax ? Errno.EINVAL
            : offsetBytes > long.MaxValue - lengthBytes ? Errno.EFBIG
            : lengthBytes == 0 ? 0
            : _gate == ReadGate.Closed ? Errno.EIO
            : Store.Exists(obj) ? -1
            : Errno.ESTALE;
        return error >= 0;
    }

    /// <summary>Loop's thread: a write of another thread gets a buffer as those have that the loop has read.</summary>
    private unsafe void WriteCopied(ulong obj, long offsetBytes, byte[] data, OperationTag tag)
    {
        if (shell.Stopping.IsCompleted)
        {
            completions.Completed(tag, Errno.EIO, 0);
            return;
        }
        if (!shell.Place.Buffers.TryRent(out var buffer))
        {
            shell.Park(() => WriteCopied(obj, offsetBytes, data, tag));
            return;
        }
        data.CopyTo(new Span<byte>(shell.Place.Buffers.Payload(buffer), data.Length));
        shell.Place.Buffers.Touched(buffer, data.Length);
        shell.Write(obj, offsetBytes, buffer, data.Length, tag);
        shell.Place.Buffers.Release(buffer);
    }

    /// <summary>Waits while reads are held. False: the volume is shut.</summary>
    private bool MayRead()
    {
        if (!_freezing && _gate == ReadGate.Open)
            return true;
        // The end of an operation leads to a look: the loop itself must not wait for what only it can change.
        if (shell.Place.Loop.IsCurrent)
            return _gate != ReadGate.Closed;
        lock (_lock)
        {
            while (_freezing || _gate == ReadGate.Held)
                Monitor.Wait(_lock, 100);
            return _gate == ReadGate.Open;
        }
    }
}
