using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Loop;

/// <summary>An open file that a ring works on; it stays open until it is released.</summary>
internal interface IRingFile
{
    int Fd { get; }

    void Release();
}

/// <summary>One read of a ring at a time.</summary>
internal abstract class RingWork
{
    /// <summary>The call has ended. On the loop's thread.</summary>
    /// <param name="result">Bytes, or a negative Linux error number. Fewer bytes than asked are no error.</param>
    public abstract void Completed(int result);
}

/// <summary>Reads of files that go on while an event loop does other things: an io_uring(7) of the loop's thread.</summary>
/// <remarks>
/// What a turn prepares is submitted by one system call, so that the disk is told once of many requests. A read that finds everything in the
/// page cache is over when that call returns. What cannot be begun without blocking is done by the kernel's own threads.
/// <code>
/// TryRead ──Run──► in flight ──Run──► Completed
/// </code>
/// What ends is completed by the kernel on the loop's thread, when it leaves a system call: poll(2) on <see cref="Descriptor"/> wakes up for
/// it, while IORING_SETUP_DEFER_TASKRUN would need an eventfd and two more calls for each wake-up.
/// There are never more in flight than the completion queue has room for, so it cannot overflow. All members belong to one thread, which has
/// opened the ring (IORING_SETUP_SINGLE_ISSUER). Layouts and numbers: linux/io_uring.h.
/// </remarks>
internal sealed unsafe class IoRing : IDisposable
{
    /// <summary>Reads in flight at once: as many as there are buffers for requests.</summary>
    public const int InFlightMax = BufferPool.BuffersDefault;

    private const uint SubmissionsMax = 128;
    private const byte OpcodeRead = 22;

    private readonly int _ring;
    private readonly byte* _rings;
    private readonly nuint _ringsBytes;
    private readonly Submission* _submissions;
    private readonly nuint _submissionsBytes;
    private readonly uint* _submitTail;
    private readonly uint _submitMask;
    private readonly uint* _submitFlags;
    private readonly uint* _completeHead;
    private readonly uint* _completeTail;
    private readonly uint _completeMask;
    private readonly Completion* _completions;
    private readonly RingWork?[] _works = new RingWork?[InFlightMax];
    private readonly int[] _free = new int[InFlightMax];
    private uint _tail;
    private uint _prepared;

    private IoRing(int ring, in RingNative.Parameters parameters, byte* rings, nuint ringsBytes, Submission* submissions, nuint submissionsBytes)
    {
        (_ring, _ringsBytes, _submissionsBytes) = (ring, ringsBytes, submissionsBytes);
        _rings = rings;
        _submissions = submissions;
        _submitTail = (uint*)(rings + parameters.Submission.Tail);
        _submitFlags = (uint*)(rings + parameters.Submission.Flags);
        _submitMask = *(uint*)(rings + parameters.Submission.RingMask);
        _completeHead = (uint*)(rings + parameters.Completion.Head);
        _completeTail = (uint*)(rings + parameters.Completion.Tail);
        _completeMask = *(uint*)(rings + parameters.Completion.RingMask);
        _completions = (Completion*)(rings + parameters.Completion.Completions);
        // Each position of the submission ring names the entry of the same number, for good.
        var array = (uint*)(rings + parameters.Submission.Array);
        for (uint i = 0; i <= _submitMask; i++)
            array[i] = i;
        for (var i = 0; i < InFlightMax; i++)
            _free[i] = InFlightMax - 1 - i;
    }

    /// <summary>Readable when something has ended.</summary>
    public int Descriptor => _ring;

    /// <summary>Prepared or in flight.</summary>
    public int Open { get; private set; }

    /// <summary>Opens a ring for the calling thread.</summary>
    /// <returns>Null where the kernel has none (before Linux 6.0), or forbids it (kernel.io_uring_disabled, seccomp).</returns>
    public static IoRing? TryOpen()
    {
        var parameters = new RingNative.Parameters
        {
            Flags = RingNative.SetupSingleIssuer | RingNative.SetupCooperative | RingNative.SetupTaskRunFlag | RingNative.SetupCompletionSize
                | RingNative.SetupSubmitAll,
            CompletionEntries = InFlightMax,
        };
        var ring = (int)RingNative.Setup(RingNative.SetupNumber, (nint)SubmissionsMax, (nint)(&parameters));
        if (ring < 0)
            return null;
        var ringsBytes = Math.Max(
            parameters.Submission.Array + (parameters.SubmissionEntries * sizeof(uint)),
            parameters.Completion.Completions + (parameters.CompletionEntries * (uint)sizeof(Completion)));
        var submissionsBytes = parameters.SubmissionEntries * (uint)sizeof(Submission);
        var rings = RingNative.Map(ring, ringsBytes, RingNative.OffsetRings);
        var submissions = RingNative.Map(ring, submissionsBytes, RingNative.OffsetSubmissions);
        if ((nint)rings == -1 || (nint)submissions == -1)
        {
            // The mapping that did succeed goes with the process: this happens once, out of memory.
            _ = LoopNative.Close(ring);
            return null;
        }
        return new IoRing(ring, parameters, (byte*)rings, ringsBytes, (Submission*)submissions, submissionsBytes);
    }

    /// <summary>Prepares a read. The memory and the file stay until <see cref="RingWork.Completed"/>.</summary>
    /// <returns>False: too much is in flight.</returns>
    public bool TryRead(int fd, byte* target, int bytes, long offsetBytes, RingWork work)
    {
        if (_prepared > _submitMask)
            Enter();
        if (Open == InFlightMax || _prepared > _submitMask)
            return false;
        var number = _free[InFlightMax - 1 - Open++];
        _works[number] = work;
        _submissions[_tail & _submitMask] = new Submission
        {
            Opcode = OpcodeRead, Fd = fd, OffsetBytes = offsetBytes, Memory = target, Bytes = (uint)bytes, UserData = (ulong)number,
        };
        Volatile.Write(ref *_submitTail, ++_tail);
        _prepared++;
        return true;
    }

    /// <summary>Submits what is prepared and tells of what has ended. Never waits.</summary>
    /// <returns>True if something has ended.</returns>
    public bool Run()
    {
        if (_prepared > 0 || (Volatile.Read(ref *_submitFlags) & RingNative.MoreWork) != 0)
            Enter();
        return TakeEnded();
    }

    public void Dispose()
    {
        _ = LoopNative.Unmap(_rings, _ringsBytes);
        _ = LoopNative.Unmap(_submissions, _submissionsBytes);
        _ = LoopNative.Close(_ring);
    }

    private void Enter()
    {
        while (true)
        {
            var taken = RingNative.Enter(RingNative.EnterNumber, _ring, (nint)_prepared, 0, RingNative.EnterGetEvents, 0, 0);
            if (taken >= 0)
            {
                _prepared -= (uint)taken;
                return;
            }
            switch (Marshal.GetLastPInvokeError())
            {
                case Errno.EINTR:
                    continue;
                // No memory for requests, or completions are to be taken first: what is prepared goes with the next call.
                case Errno.EAGAIN or Errno.EBUSY:
                    return;
                case var errno:
                    throw new IOException($"io_uring_enter: {Errno.Describe(errno)}");
            }
        }
    }

    private bool TakeEnded()
    {
        var head = *_completeHead;
        if (head == Volatile.Read(ref *_completeTail))
            return false;
        while (head != Volatile.Read(ref *_completeTail))
        {
            var ended = _completions[head & _completeMask];
            Volatile.Write(ref *_completeHead, ++head);
            var number = (int)ended.UserData;
            var work = _works[number]!;
            _works[number] = null;
            _free[InFlightMax - Open--] = number;
            work.Completed(ended.Result);
        }
        return true;
    }

    /// <summary>struct io_uring_sqe, as far as it is used here.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 64)]
    private struct Submission
    {
        public byte Opcode;
        public byte Flags;
        public ushort Priority;
        public int Fd;
        public long OffsetBytes;
        public void* Memory;
        public uint Bytes;
        public uint CallFlags;
        public ulong UserData;
    }

    /// <summary>struct io_uring_cqe.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Completion
    {
        public ulong UserData;
        public int Result;
        public uint Flags;
    }
}
