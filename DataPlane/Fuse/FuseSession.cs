using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>A mounted file system: speaks the kernel's FUSE protocol on /dev/fuse and hands requests to an <see cref="IFuseHandler"/>.
/// Needs root (mount(2)); knows nothing of replication.</summary>
/// <remarks>
/// Life: <see cref="Start"/> mounts, answers INIT and starts the workers. The session ends by <see cref="Stop"/>, by somebody's umount(8)
/// (<see cref="Ended"/> completes), or by a fault: an exception that leaves the handler, or a reply that the kernel refuses. A fault aborts
/// the connection first and is told afterwards; the dead mount then goes on hiding the directory until <see cref="Stop"/>.
/// Locks (flock, fcntl) are not forwarded: they are kept by this host's kernel. The write-back cache is off, so a write has reached the
/// handler when write(2) returns; only shared writable mappings are written later, by the kernel, at the latest by msync, fsync or close.
/// </remarks>
public sealed class FuseSession : IDisposable
{
    /// <summary>The oldest protocol that is spoken here, 7.31 (Linux 5.4): max_pages (7.28) and the full INIT reply (7.23) are needed.</summary>
    public const uint MinorMin = 31;

    /// <summary>The newest protocol whose structures are known here.</summary>
    public const uint MinorMax = 45;

    private const FuseInitFlags Wanted =
        FuseInitFlags.AsyncRead | FuseInitFlags.BigWrites | FuseInitFlags.AutoInvalidateData | FuseInitFlags.DoReadDirectoryPlus
        | FuseInitFlags.ReadDirectoryPlusAuto | FuseInitFlags.AsyncDirectIo | FuseInitFlags.ParallelDirectoryOperations
        | FuseInitFlags.AbortError | FuseInitFlags.MaxPages | FuseInitFlags.InitExtended | FuseInitFlags.DirectIoAllowMmap
        | FuseInitFlags.HasResend;

    private const FuseInitFlags Acls = FuseInitFlags.PosixAcl | FuseInitFlags.DontMask | FuseInitFlags.SetXattrExtended;

    private readonly FuseMount _mount;
    private readonly IFuseHandler _handler;
    private readonly SafeFileHandle[] _devices;
    private readonly FuseWorker[] _workers;
    private readonly FuseLoop? _loop;
    private FuseChannel? _channel;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Exception? _faultCause;
    private int _running;

    private FuseSession(FuseMount mount, SafeFileHandle[] devices, IFuseHandler handler, FuseLoop? loop)
    {
        _mount = mount;
        _loop = loop;
        _handler = handler;
        _devices = devices;
        Replier = new FuseReplier(_devices, Fault);
        _workers = new FuseWorker[loop is null ? devices.Length : 0];
    }

    /// <summary>Raised once, on a pool thread, after the connection was aborted because of the exception.</summary>
    public event Action<Exception>? Faulted;

    public FuseReplier Replier { get; }

    public FuseNegotiation Negotiated { get; private set; }

    public string Path => _mount.Path;

    /// <summary>What another process needs to go on with this connection; null where the kernel cannot send unanswered requests again. The
    /// descriptors stay this session's.</summary>
    public FuseConnection? Connection => Negotiated.Flags.HasFlag(FuseInitFlags.HasResend)
        ? new FuseConnection(_mount.Connection, Negotiated, [.. _devices.Distinct()])
        : null;

    /// <summary>Completes when no worker runs any more.</summary>
    public Task Ended => _ended.Task;

    /// <summary>The fault that ended the session, if one did.</summary>
    public Exception? FaultCause => Volatile.Read(ref _faultCause);

    /// <summary>Requests read so far.</summary>
    public long Requests => _channel?.Requests ?? _workers.Sum(worker => worker.Requests);

    /// <summary>Mounts over the directory and starts to serve.</summary>
    /// <exception cref="FuseException">Not root, no FUSE, a kernel older than protocol 7.31, or no INIT in time.</exception>
    public static FuseSession Start(CoveredDirectory directory, IFuseHandler handler, FuseSessionOptions options) =>
        Start(directory, handler, options, null);

    /// <param name="loop">Reads the requests; null: threads of the session's own do.</param>
    internal static FuseSession Start(CoveredDirectory directory, IFuseHandler handler, FuseSessionOptions options, FuseLoop? loop)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Workers, 1);
        if (options.Source.AsSpan().ContainsAny(", \t\n\\"))
            throw new ArgumentException($"Not a mount source: '{options.Source}'.", nameof(options));
        var device = OpenDevice();
        try
        {
            var mount = FuseMount.Create(directory, device, options.Source, FuseBuffer.PayloadBytesMax);
            try
            {
                var devices = new SafeFileHandle[loop is null ? options.Workers : 1];
                devices[0] = device;
                var session = new FuseSession(mount, devices, handler, loop);
                session.Begin(options);
                return session;
            }
            catch
            {
                mount.Unmount(TimeSpan.Zero);
                throw;
            }
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <summary>Goes on with the connection of a process that has ended: no INIT comes, and what was read and not answered comes again
    /// (<see cref="FuseRequest.IsResent"/>). On success the session owns the connection's descriptors; after a failure they are the
    /// caller's still, and the connection is as it was.</summary>
    /// <exception cref="FuseException">Another mount lies on the path, or the kernel cannot send requests again.</exception>
    public static FuseSession Adopt(CoveredDirectory directory, FuseConnection held, IFuseHandler handler, FuseSessionOptions options) =>
        Adopt(directory, held, handler, options, null);

    /// <param name="loop">Reads the requests, from the first of the descriptors; null: threads of the session's own do.</param>
    internal static FuseSession Adopt(CoveredDirectory directory, FuseConnection held, IFuseHandler handler, FuseSessionOptions options, FuseLoop? loop)
    {
        // Each descriptor keeps the requests that were read from it: all stay open. A few more workers than usual do no harm.
        var devices = new SafeFileHandle[Math.Max(loop is null ? options.Workers : 1, held.Devices.Count)];
        for (var i = 0; i < held.Devices.Count; i++)
        {
            devices[i] = held.Devices[i];
            MakeBlocking(devices[i]);
        }

        var session = new FuseSession(FuseMount.Adopt(directory, held.Number), devices, handler, loop) { Negotiated = held.Negotiated };
        session.Replier.NotifyResend();
        for (var i = held.Devices.Count; i < devices.Length; i++)
            devices[i] = Clone(devices[0]);
        session.Serve(options);
        return session;
    }

    /// <summary>Ends the connection at once, leaving the dead mount in place: users get errors, and still nobody sees what is below.</summary>
    public void Abort() => _mount.Abort();

    /// <summary>Unmounts and waits for the workers. Requests that the handler still holds must be answered by it, or the connection is
    /// aborted when <paramref name="timeout"/> has passed.</summary>
    /// <exception cref="FuseException">A worker did not come back from the handler within the timeout.</exception>
    public UnmountOutcome Stop(TimeSpan timeout)
    {
        var outcome = _mount.Unmount(timeout);
        if (_channel is not null && !_ended.Task.Wait(timeout))
            throw new FuseException($"A request of {Path} did not come back from its handler within {timeout}.");
        foreach (var worker in _workers)
        {
            if (!worker.Join(timeout))
                throw new FuseException($"A FUSE worker of {Path} did not return from its handler within {timeout}.");
        }

        foreach (var device in _devices)
            device.Dispose();
        return outcome;
    }

    /// <summary><see cref="Stop"/> with 5 seconds.</summary>
    public void Dispose() => Stop(TimeSpan.FromSeconds(5));

    private static SafeFileHandle OpenDevice()
    {
        // Close on exec: a child that inherited the descriptor would keep the connection alive after the death of this process, and
        // applications would hang instead of getting ENOTCONN.
        var descriptor = FuseNative.Open("/dev/fuse", OpenFlags.ReadWrite | OpenFlags.CloseOnExec, 0);
        if (descriptor < 0)
            throw new FuseException("Cannot open /dev/fuse", Marshal.GetLastPInvokeError());
        return new SafeFileHandle(descriptor, ownsHandle: true);
    }

    private void Begin(FuseSessionOptions options)
    {
        Negotiated = Negotiate(options);
        for (var i = 1; i < _devices.Length; i++)
            _devices[i] = Clone(_devices[0]);
        Serve(options);
    }

    private void Serve(FuseSessionOptions options)
    {
        _handler.Started(Negotiated, Replier);
        if (_loop is not null)
        {
            BeUnblocking(_devices[0]);
            _running = 1;
            _channel = new FuseChannel(_loop, _devices[0], _handler, Replier, Fault, WorkerEnded);
            _channel.Start();
            return;
        }

        _running = _workers.Length;
        for (var i = 0; i < _workers.Length; i++)
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"fuse-{options.Source}-{i}");
            _workers[i] = new FuseWorker(name, _devices[i], i, _handler, Replier, Fault, WorkerEnded);
        }

        foreach (var worker in _workers)
            worker.Start();
    }

    private static void BeUnblocking(SafeFileHandle device)
    {
        var descriptor = (int)device.DangerousGetHandle();
        var flags = LoopNative.FileControl(descriptor, LoopNative.GetFlags, 0);
        if (flags < 0 || LoopNative.FileControl(descriptor, LoopNative.SetFlags, flags | LoopNative.NonBlocking) < 0)
            throw new FuseException("Cannot set O_NONBLOCK on /dev/fuse", Marshal.GetLastPInvokeError());
    }

    /// <summary>A descriptor with a queue of its own on the same connection, so that workers do not share a lock in the kernel; the
    /// connection's first descriptor where the kernel refuses to clone.</summary>
    private static unsafe SafeFileHandle Clone(SafeFileHandle master)
    {
        var clone = OpenDevice();
        var number = (uint)master.DangerousGetHandle();
        if (FuseNative.Ioctl(clone, FuseNative.DeviceClone, &number) == 0)
            return clone;
        clone.Dispose();
        return master;
    }

    /// <summary>The mode belongs to the open file, not to the descriptor: the process before may have read without blocking.</summary>
    private static void MakeBlocking(SafeFileHandle device)
    {
        var flags = FuseNative.Fcntl(device, FuseNative.FcntlGetFlags, 0);
        if (flags < 0 || FuseNative.Fcntl(device, FuseNative.FcntlSetFlags, flags & ~OpenFlags.NonBlocking) < 0)
            throw new FuseException("Cannot make a FUSE descriptor wait for requests", Marshal.GetLastPInvokeError());
    }

    private unsafe FuseNegotiation Negotiate(FuseSessionOptions options)
    {
        using var buffer = new FuseBuffer();
        var poll = new FuseNative.PollDescriptor { Descriptor = (int)_devices[0].DangerousGetHandle(), Events = FuseNative.PollIn };
        if (FuseNative.Poll(&poll, 1, (int)options.InitTimeout.TotalMilliseconds) != 1)
            throw new FuseException($"The kernel sent no INIT for {Path} within {options.InitTimeout}.");
        var count = FuseNative.Read(_devices[0], buffer.Message, (nuint)buffer.MessageBytesMax);
        if (count < sizeof(FuseInHeader) + 16)
            throw new FuseException("Cannot read INIT", count < 0 ? Marshal.GetLastPInvokeError() : 0);
        var header = *(FuseInHeader*)buffer.Message;
        FuseInitIn init = default;
        // SAFETY: copies what the kernel sent and the structure holds; older kernels send 16 bytes.
        Buffer.MemoryCopy(buffer.Message + sizeof(FuseInHeader), &init, sizeof(FuseInitIn),
            Math.Min(sizeof(FuseInitIn), count - sizeof(FuseInHeader)));
        if (header.Opcode != FuseOpcode.Init || init.Major != 7 || init.Minor < MinorMin)
        {
            throw new FuseException(
                $"This kernel speaks FUSE {init.Major}.{init.Minor}; 7.{MinorMin} (Linux 5.4) or newer of version 7 is needed.");
        }

        var reply = Answer(init, options);
        var token = new FuseReplyToken(header.Unique, 0);
        // No INTERRUPT is ever obeyed here (FuseWorker), and this answer to one, to which bit 0 belongs, makes the kernel send none
        // (fs/fuse/dev.c, fuse_dev_do_write): one that waits while its request is sent again would be left behind in the kernel's list.
        Replier.Error(new FuseReplyToken(header.Unique | 1, 0), Errno.ENOSYS);
        if (!Replier.Reply(token, reply))
            throw new FuseException($"The mount on {Path} ended before INIT was answered.");
        return new FuseNegotiation(init.Minor, reply.Minor, (FuseInitFlags)(reply.Flags | ((ulong)reply.Flags2 << 32)), (int)reply.WriteMax);
    }

    private static FuseInitOut Answer(in FuseInitIn init, FuseSessionOptions options)
    {
        var offered = (FuseInitFlags)init.Flags;
        if (offered.HasFlag(FuseInitFlags.InitExtended))
            offered |= (FuseInitFlags)((ulong)init.Flags2 << 32);
        var wanted = options.HandlerKillsPrivileges ? Wanted | FuseInitFlags.HandleKillPrivilegesV2 : Wanted;
        // One without the other would lose the umask or a set-group-id bit that has to go.
        if (options.HandlerKeepsAcls && offered.HasFlag(Acls))
            wanted |= Acls;
        var flags = (ulong)(wanted & offered);
        return new FuseInitOut
        {
            Major = 7,
            Minor = Math.Min(init.Minor, MinorMax),
            ReadAheadMax = init.ReadAheadMax,
            Flags = (uint)flags,
            Flags2 = (uint)(flags >> 32),
            BackgroundMax = options.BackgroundMax,
            CongestionThreshold = options.CongestionThreshold,
            WriteMax = FuseBuffer.PayloadBytesMax,
            PagesMax = FuseBuffer.PayloadBytesMax / 4096,
            TimeGranularityNs = 1,
        };
    }

    private void Fault(Exception cause)
    {
        if (Interlocked.CompareExchange(ref _faultCause, cause, null) is not null)
            return;
        _mount.Abort();
        ThreadPool.UnsafeQueueUserWorkItem(_ => Faulted?.Invoke(cause), null);
    }

    private void WorkerEnded()
    {
        if (Interlocked.Decrement(ref _running) != 0)
            return;
        try
        {
            _handler.Ended();
        }
        catch (Exception e)
        {
            Fault(e);
        }
        finally
        {
            _ended.TrySetResult();
        }
    }
}
