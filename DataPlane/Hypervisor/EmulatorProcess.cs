using System.Globalization;
using System.Text;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>Finds, halts and kills the process that executes a domain. libvirt starts QEMU with <c>-name guest=DOMAIN,…</c> (virsh
/// domxml-to-native qemu-argv shows it), so the process table itself tells which process it is, with or without libvirt's daemon.</summary>
public static class EmulatorProcess
{
    /// <summary>Command lines of QEMU have some 4 KiB; the name stands near their beginning.</summary>
    private const int CommandLineBytesMax = 64 * 1024;

    /// <returns>Null if certainly no process executes the domain.</returns>
    public static int? Find(string domain)
    {
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory.AsSpan()), NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
                && Executes(pid, domain))
                return pid;
        }

        return null;
    }

    /// <summary>Whether this process is alive and executes the domain. A zombie has no command line: it does not.</summary>
    public static bool Executes(int pid, string domain)
    {
        try
        {
            using var file = File.OpenHandle($"/proc/{pid.ToString(CultureInfo.InvariantCulture)}/cmdline");
            var buffer = new byte[4096];
            var length = 0;
            while (RandomAccess.Read(file, buffer.AsSpan(length), length) is > 0 and var count)
            {
                length += count;
                if (length == CommandLineBytesMax)
                    break;
                if (length == buffer.Length)
                    Array.Resize(ref buffer, buffer.Length * 2);
            }

            return IsNamed(Encoding.UTF8.GetString(buffer, 0, length).Split('\0'), domain);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The process is gone.
            return false;
        }
    }

    /// <summary>Kills the domain's process, if there is one.</summary>
    /// <returns>The process killed, or null if there was none.</returns>
    public static int? Kill(string domain) => Signal(domain, static process => process.Kill());

    /// <summary>Halts the domain's process, if there is one: it keeps its memory and executes nothing.</summary>
    public static int? Halt(string domain) => Signal(domain, static process => process.Halt());

    /// <summary>Ends <see cref="Halt"/>.</summary>
    public static int? Continue(string domain) => Signal(domain, static process => process.Continue());

    /// <summary>Whether a process is halted by a signal (state T of proc_pid_stat(5)).</summary>
    public static bool IsHalted(int pid)
    {
        try
        {
            return State($"/proc/{pid.ToString(CultureInfo.InvariantCulture)}/stat") == 'T';
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <returns>A null character if the file does not say.</returns>
    /// <exception cref="IOException">The process or thread is gone.</exception>
    private static char State(string path)
    {
        var stat = File.ReadAllText(path);
        // The name stands in parentheses and may contain anything.
        var end = stat.LastIndexOf(')');
        return end >= 0 && end + 2 < stat.Length ? stat[end + 2] : '\0';
    }

    /// <summary>Whether nothing of the domain can execute now: it has no process, or each thread is halted, ended, or in an uninterruptible wait,
    /// after which a signal that was sent meets it before it executes anything (states of proc_pid_stat(5)).</summary>
    public static bool IsAtRest(string domain)
    {
        if (Find(domain) is not { } pid)
            return true;
        try
        {
            foreach (var thread in Directory.EnumerateDirectories($"/proc/{pid.ToString(CultureInfo.InvariantCulture)}/task"))
            {
                if (State(Path.Combine(thread, "stat")) is 'R' or 'S' or 'I')
                    return false;
            }

            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It ends just now; the next look tells.
            return false;
        }
    }

    /// <summary>Safe against reuse of process ids: the descriptor is opened first, then the process behind it is recognised, then the signal
    /// goes to the descriptor (pidfd_open(2)).</summary>
    private static int? Signal(string domain, Action<ProcessHandle> send)
    {
        if (Find(domain) is not { } pid)
            return null;
        using var handle = ProcessHandle.Open(pid);
        if (handle is null || !Executes(pid, domain))
            return null;
        send(handle);
        return pid;
    }

    private static bool IsNamed(string[] arguments, string domain)
    {
        var prefix = "guest=" + domain.Replace(",", ",,", StringComparison.Ordinal);
        for (var i = 0; i + 1 < arguments.Length; i++)
        {
            if (arguments[i] != "-name")
                continue;
            var name = arguments[i + 1];
            // A comma in a value is doubled: a single one ends it.
            return name.StartsWith(prefix, StringComparison.Ordinal)
                && (name.Length == prefix.Length
                    || (name[prefix.Length] == ',' && (name.Length == prefix.Length + 1 || name[prefix.Length + 1] != ',')));
        }

        return false;
    }
}
