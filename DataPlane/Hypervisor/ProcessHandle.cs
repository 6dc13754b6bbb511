using System.ComponentModel;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>A process by descriptor (pidfd): it cannot become another process while this is held.</summary>
internal sealed partial class ProcessHandle : IDisposable
{
    // Numbers of the system calls are the same on all architectures (asm-generic/unistd.h since Linux 5.1 and 5.3).
    private const long PidfdSendSignal = 424;
    private const long PidfdOpen = 434;
    private const int SigKill = 9;
    private const int NoSuchProcess = 3;

    private readonly int _descriptor;

    private ProcessHandle(int descriptor) => _descriptor = descriptor;

    /// <returns>Null if there is no such process.</returns>
    public static ProcessHandle? Open(int pid)
    {
        var descriptor = SystemCall(PidfdOpen, pid, 0, 0, 0);
        if (descriptor >= 0)
            return new ProcessHandle((int)descriptor);
        return Marshal.GetLastPInvokeError() == NoSuchProcess ? null : throw new Win32Exception();
    }

    public void Kill()
    {
        if (SystemCall(PidfdSendSignal, _descriptor, SigKill, 0, 0) < 0 && Marshal.GetLastPInvokeError() != NoSuchProcess)
            throw new Win32Exception();
    }

    public void Dispose() => _ = Libc.Close(_descriptor);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, long first, long second, long third, long fourth);
}
