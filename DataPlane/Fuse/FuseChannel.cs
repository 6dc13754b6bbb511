using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>Reads the requests of one connection on an event loop, without blocking, several in a turn. READs go through the loop's ring;
/// what the handler cannot do there goes to the lane with its buffer.</summary>
/// <remarks>
/// A buffer belongs to its request from the read until the handler is through with it: the channel holds one reference while it hands the
/// request over, a handler that needs the data longer takes its own. All replies go to the one descriptor.
/// <code>
/// reading ──ENODEV, ECONNABORTED──► draining (the lane or the ring has requests) ──► ended
/// </code>
/// State belongs to the loop's thread.
/// </remarks>
internal sealed unsafe class FuseChannel : ILoopSource
{
    /// <summary>Requests read in one turn: as many as a deep queue has, so that their frames leave in one send; few enough that
    /// acknowledgements do not wait long behind them.</summary>
    private const int RequestsPerTurnMax = 64;

    private readonly FuseLoop _place;
    private readonly SafeFileHandle _device;
    private readonly IFuseHandler _handler;
    private readonly FuseReplier _replier;
    private readonly Action<Exception> _fault;
    private readonly Action _ended;
    private readonly RequestWork?[] _works;
    private readonly ReadWork?[] _reads;
    private readonly int _messageBytesMax;
    private readonly int _argumentBytes = sizeof(FuseInHeader) + sizeof(FuseWriteIn);
    private int _elsewhere;
    private bool _draining;
    private long _requests;

    /// <param name="device">Opened without blocking.</param>
    public FuseChannel(FuseLoop place, SafeFileHandle device, IFuseHandler handler, FuseReplier replier, Action<Exception> fault, Action ended)
    {
        (_place, _device, _handler, _replier, _fault, _ended) = (place, device, handler, replier, fault, ended);
        _works = new RequestWork?[place.Buffers.Count];
        _reads = new ReadWork?[place.Buffers.Count];
        _messageBytesMax = _argumentBytes + BufferPool.PayloadBytesMax + BufferPool.TailBytes;
        Descriptor = (int)device.DangerousGetHandle();
    }

    public int Descriptor { get; }

    public short Interest => !_draining && _place.MayRead ? LoopNative.PollIn : (short)0;

    public long Requests => Volatile.Read(ref _requests);

    public void Start()
    {
        if (!_place.Loop.Post(() => _place.Loop.Add(this)))
            throw new FuseException("The event loop that should serve the mount has ended.");
    }

    public void Ready(short events)
    {
        for (var i = 0; i < RequestsPerTurnMax && _place.MayRead && _place.Buffers.TryRent(out var buffer); i++)
        {
            var message = _place.Buffers.Payload(buffer) - _argumentBytes;
            var count = FuseNative.Read(_device, message, (nuint)_messageBytesMax);
            if (count < 0)
            {
                var errno = Marshal.GetLastPInvokeError();
                _place.Buffers.Release(buffer);
                // ENOENT: the request was interrupted while it was being copied.
                if (errno is Errno.EINTR or Errno.ENOENT)
                    continue;
                if (errno == Errno.EAGAIN)
                    return;
                // ENODEV: unmounted. ECONNABORTED: aborted (FUSE_ABORT_ERROR).
                if (errno is not (Errno.ENODEV or Errno.ECONNABORTED))
                    _fault(new FuseException("Cannot read from /dev/fuse", errno));
                Drain();
                return;
            }
            _requests++;
            Take(buffer, message, (int)count);
        }
    }

    public void LoopFaulted(Exception cause)
    {
        _fault(cause);
        _draining = true;
        if (_elsewhere == 0)
            End();
    }

    private void Take(int buffer, byte* message, int count)
    {
        var header = (FuseInHeader*)message;
        if (count < sizeof(FuseInHeader) || header->Length != count)
        {
            _place.Buffers.Release(buffer);
            _fault(new FuseException($"The kernel sent a FUSE message of {count} bytes that does not carry its own length."));
            return;
        }
        _place.Buffers.Touched(buffer, Math.Max(0, count - _argumentBytes));
        try
        {
            var request = new FuseRequest(message, _place.Buffers.Payload(buffer), BufferPool.PayloadBytesMax, 0);
            if (request.Opcode == FuseOpcode.Read && TryBeginRead(request, buffer))
                return;
            if (Dispatch(request, buffer))
            {
                _place.Buffers.Release(buffer);
                return;
            }
        }
        catch (Exception e)
        {
            // Applications must not hang on a connection that nobody serves (S12): the session aborts it and reports.
            _place.Buffers.Release(buffer);
            _fault(e);
            return;
        }
        _elsewhere++;
        _place.Lane.Put(_works[buffer] ??= new RequestWork(this, buffer));
    }

    private bool TryBeginRead(in FuseRequest request, int buffer)
    {
        if (_place.Loop.Ring is not { } ring || !_handler.TryBeginRead(request, out var read))
            return false;
        var work = _reads[buffer] ??= new ReadWork(this, buffer);
        work.File = read.File;
        if (!ring.TryRead(read.File.Fd, request.PayloadPointer, read.Bytes, read.OffsetBytes, work))
        {
            read.File.Release();
            return false;
        }
        _place.Buffers.Touched(buffer, read.Bytes);
        _elsewhere++;
        return true;
    }

    private void ReadEnded(int buffer, int result)
    {
        _elsewhere--;
        try
        {
            var payload = _place.Buffers.Payload(buffer);
            var request = new FuseRequest(payload - _argumentBytes, payload, BufferPool.PayloadBytesMax, 0);
            if (!_handler.TryEndRead(request, result, _replier))
            {
                _elsewhere++;
                _place.Lane.Put(_works[buffer] ??= new RequestWork(this, buffer));
                return;
            }
        }
        catch (Exception e)
        {
            _fault(e);
        }
        Returned(buffer);
    }

    /// <returns>False: it is one for the lane.</returns>
    private bool Dispatch(in FuseRequest request, int buffer)
    {
        switch (request.Opcode)
        {
            case FuseOpcode.Forget or FuseOpcode.BatchForget or FuseOpcode.Interrupt or FuseOpcode.Destroy or FuseOpcode.Init:
                FuseWorker.HandleProtocol(request, _handler, _replier);
                return true;
            default:
                return _handler.TryHandleOnLoop(request, buffer, _replier);
        }
    }

    private void HandleAtLane(int buffer)
    {
        try
        {
            var payload = _place.Buffers.Payload(buffer);
            _handler.Handle(new FuseRequest(payload - _argumentBytes, payload, BufferPool.PayloadBytesMax, 0), _replier);
        }
        catch (Exception e)
        {
            _fault(e);
        }
    }

    private void BackFromLane(int buffer)
    {
        _elsewhere--;
        Returned(buffer);
    }

    private void Returned(int buffer)
    {
        _place.Buffers.Release(buffer);
        if (_draining && _elsewhere == 0)
            End();
    }

    private void Drain()
    {
        _draining = true;
        if (_elsewhere == 0)
            End();
    }

    /// <summary>The loop watches the channel until then, so that it does not end before. The handler closes what is open, which may block.</summary>
    private void End()
    {
        _place.Loop.Remove(this);
        ThreadPool.UnsafeQueueUserWorkItem(static ended => ended(), _ended, preferLocal: false);
    }

    /// <summary>A request on its way through the lane and, to give its buffer back, through the loop.</summary>
    private sealed class RequestWork(FuseChannel channel, int buffer) : LoopWork
    {
        private bool _handled;

        public override void Execute()
        {
            if (_handled)
            {
                _handled = false;
                channel.BackFromLane(buffer);
                return;
            }
            channel.HandleAtLane(buffer);
            _handled = true;
            // A loop that has ended by a fault has aborted the connection; its buffers are not used again.
            _ = channel._place.Loop.Post(this);
        }
    }

    private sealed class ReadWork(FuseChannel channel, int buffer) : RingWork
    {
        public IRingFile? File { get; set; }

        public override void Completed(int result)
        {
            File!.Release();
            File = null;
            channel.ReadEnded(buffer, result);
        }
    }
}
