using System.ComponentModel;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>A process by descriptor (pidfd): it cannot become another process while this is held.</summary>
internal sealed partial class ProcessHandle : IDisposable
{
    // Numbers of the system calls are the same on all architectures (asm-generic/unistd.h since Linux 5.1 and 5.3); those of the signals
    // on all that .NET runs on (signal(7), column x86/ARM).
    private const long PidfdSendSignal = 424;
    private const long PidfdOpen = 434;
    private const int SigKill = 9;
    private const int SigCont = 18;
    private const int SigStop = 19;
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

    public void Kill() => Send(SigKill);

    /// <summary>None of its threads executes in user mode or in a guest until <see cref="Continue"/>; neither signal can be caught or held
    /// back (signal(7)).</summary>
    public void Halt() => Send(SigStop);

    public void Continue() => Send(SigCont);

    public void Dispose() => _ = Libc.Close(_descriptor);

    private void Send(int signal)
    {
        if (SystemCall(PidfdSendSignal, _descriptor, signal, 0, 0) < 0 && Marshal.GetLastPInvokeError() != NoSuchProcess)
            throw new Win32Exception();
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, long first, long second, long third, long fourth);
}
