using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Loop;

/// <summary>io_uring_setup(2) and io_uring_enter(2), which libc has no functions for. Numbers of linux/io_uring.h; those of the calls are the
/// same on every architecture (asm-generic/unistd.h).</summary>
internal static unsafe partial class RingNative
{
    public const nint SetupNumber = 425;
    public const nint EnterNumber = 426;

    public const uint SetupCompletionSize = 1 << 3;
    public const uint SetupSubmitAll = 1 << 7;
    public const uint SetupCooperative = 1 << 8;
    public const uint SetupTaskRunFlag = 1 << 9;
    public const uint SetupSingleIssuer = 1 << 12;

    public const nint EnterGetEvents = 1;

    /// <summary>IORING_SQ_CQ_OVERFLOW and IORING_SQ_TASKRUN: completions wait to be taken over by a call.</summary>
    public const uint MoreWork = (1 << 1) | (1 << 2);

    public const long OffsetRings = 0;
    public const long OffsetSubmissions = 0x1000_0000;

    private const string C = "libc";
    private const int MapSharedPopulate = 0x8001;

    [StructLayout(LayoutKind.Sequential)]
    public struct SubmissionOffsets
    {
        public uint Head;
        public uint Tail;
        public uint RingMask;
        public uint RingEntries;
        public uint Flags;
        public uint Dropped;
        public uint Array;
        public uint Reserved;
        public ulong UserAddress;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct CompletionOffsets
    {
        public uint Head;
        public uint Tail;
        public uint RingMask;
        public uint RingEntries;
        public uint Overflow;
        public uint Completions;
        public uint Flags;
        public uint Reserved;
        public ulong UserAddress;
    }

    /// <summary>struct io_uring_params, 120 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Parameters
    {
        public uint SubmissionEntries;
        public uint CompletionEntries;
        public uint Flags;
        public uint PollThreadProcessor;
        public uint PollThreadIdle;
        public uint Features;
        public uint Workers;
        public uint Reserved0;
        public uint Reserved1;
        public uint Reserved2;
        public SubmissionOffsets Submission;
        public CompletionOffsets Completion;
    }

    public static void* Map(int ring, nuint bytes, long offset) =>
        LoopNative.Map(null, bytes, LoopNative.ProtectReadWrite, MapSharedPopulate, ring, offset);

    [LibraryImport(C, EntryPoint = "syscall", SetLastError = true)]
    public static partial nint Setup(nint number, nint entries, nint parameters);

    [LibraryImport(C, EntryPoint = "syscall", SetLastError = true)]
    public static partial nint Enter(nint number, nint ring, nint submit, nint endedMin, nint flags, nint argument, nint argumentBytes);
}
