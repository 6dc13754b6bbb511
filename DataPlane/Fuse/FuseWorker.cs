using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>One thread that reads requests from its own descriptor of the connection and hands them to the handler. It owns its buffer:
/// the memory is freed when its loop has ended. Nothing is allocated per request.</summary>
internal sealed unsafe class FuseWorker
{
    private readonly SafeFileHandle _device;
    private readonly int _deviceIndex;
    private readonly IFuseHandler _handler;
    private readonly FuseReplier _replier;
    private readonly Action<Exception> _fault;
    private readonly Action _ended;
    private readonly Thread _thread;
    private long _requests;

    public FuseWorker(string name, SafeFileHandle device, int deviceIndex, IFuseHandler handler, FuseReplier replier,
        Action<Exception> fault, Action ended)
    {
        _device = device;
        _deviceIndex = deviceIndex;
        _handler = handler;
        _replier = replier;
        _fault = fault;
        _ended = ended;
        _thread = new Thread(Run) { IsBackground = true, Name = name };
    }

    public long Requests => Volatile.Read(ref _requests);

    public void Start() => _thread.Start();

    public bool Join(TimeSpan timeout) => _thread == Thread.CurrentThread || _thread.Join(timeout);

    private void Run()
    {
        try
        {
            using var buffer = new FuseBuffer();
            while (Receive(buffer))
            {
                _requests++;
                Dispatch(buffer);
            }
        }
        catch (Exception e)
        {
            // Whatever it was, applications must not hang on a connection without workers (S12): the session aborts it and reports.
            _fault(e);
        }
        finally
        {
            _ended();
        }
    }

    /// <summary>Waits for a request.</summary>
    /// <returns>False when the connection has ended.</returns>
    private bool Receive(FuseBuffer buffer)
    {
        while (true)
        {
            var count = FuseNative.Read(_device, buffer.Message, (nuint)buffer.MessageBytesMax);
            if (count >= 0)
            {
                var header = (FuseInHeader*)buffer.Message;
                if (count < sizeof(FuseInHeader) || header->Length != count)
                    throw new FuseException($"The kernel sent a FUSE message of {count} bytes that does not carry its own length.");
                return true;
            }

            var errno = Marshal.GetLastPInvokeError();
            switch (errno)
            {
                // ENOENT: the request was interrupted while it was being copied.
                case Errno.EINTR or Errno.ENOENT or Errno.EAGAIN:
                    continue;
                // ENODEV: unmounted. ECONNABORTED: aborted (FUSE_ABORT_ERROR).
                case Errno.ENODEV or Errno.ECONNABORTED:
                    return false;
                default:
                    throw new FuseException("Cannot read from /dev/fuse", errno);
            }
        }
    }

    private void Dispatch(FuseBuffer buffer)
    {
        var request = new FuseRequest(buffer.Message, buffer.Payload, FuseBuffer.PayloadBytesMax, _deviceIndex);
        if (request.Opcode is FuseOpcode.Forget or FuseOpcode.BatchForget or FuseOpcode.Interrupt or FuseOpcode.Destroy or FuseOpcode.Init)
            HandleProtocol(request, _handler, _replier);
        else
            _handler.Handle(in request, _replier);
    }

    /// <summary>The requests that <see cref="IFuseHandler.Handle"/> never gets.</summary>
    internal static void HandleProtocol(in FuseRequest request, IFuseHandler handler, FuseReplier replier)
    {
        switch (request.Opcode)
        {
            case FuseOpcode.Forget:
                handler.Forget(request.NodeId, request.As<FuseForgetIn>().Lookups);
                break;
            case FuseOpcode.BatchForget:
                var forgets = MemoryMarshal.Cast<byte, FuseForgetOne>(request.After<FuseBatchForgetIn>());
                foreach (ref readonly var one in forgets[..(int)request.As<FuseBatchForgetIn>().Count])
                    handler.Forget(one.NodeId, one.Lookups);
                break;
            case FuseOpcode.Interrupt:
                // The protocol lets a server ignore interrupts. A write that may already be on the peer cannot be taken back, so it is
                // always answered by its outcome; ENOSYS tells the kernel to send no more of these.
                replier.Error(request.Token, Errno.ENOSYS);
                break;
            case FuseOpcode.Destroy:
                replier.Ok(request.Token);
                break;
            default:
                throw new FuseException($"The kernel sent {request.Opcode} in a running session.");
        }
    }
}
