using System.Runtime.InteropServices;

namespace Pollux.Lab;

/// <summary>kill(2): the lab's faults are signals to single, known processes.</summary>
public static partial class Signals
{
    public const int Kill = 9;
    public const int Terminate = 15;

    /// <summary>SIGUSR2: a data plane ends and leaves everything to the next one.</summary>
    public const int HandOver = 12;
    public const int Continue = 18;
    public const int Stop = 19;

    /// <summary>Sends a signal; a process that is gone already counts as done.</summary>
    public static void Send(int processId, int signal)
    {
        const int NoSuchProcess = 3;
        if (processId <= 1)
            throw new ArgumentOutOfRangeException(nameof(processId), processId, "Not the id of a process of the lab.");
        if (SysKill(processId, signal) != 0 && Marshal.GetLastPInvokeError() is var error and not NoSuchProcess)
            throw new LabException($"kill({processId}, {signal}) failed with errno {error}.");
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int SysKill(int processId, int signal);
}
