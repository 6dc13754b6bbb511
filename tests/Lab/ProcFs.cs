using System.Globalization;

namespace Pollux.Lab;

/// <summary>Reads of /proc, proc(5). Every one of them may find that the process is gone: then the answer is empty.</summary>
public static class ProcFs
{
    public static IReadOnlyList<int> ChildrenOf(int processId) =>
        [.. Read($"/proc/{processId}/task/{processId}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];

    public static string CommandName(int processId) => Read($"/proc/{processId}/comm").TrimEnd('\n');

    public static string CommandLine(int processId) => Read($"/proc/{processId}/cmdline").Replace('\0', ' ');

    /// <summary>The state letter (R, S, D, T, Z …); null when the process is gone.</summary>
    public static char? State(int processId)
    {
        var stat = Read($"/proc/{processId}/stat");
        var end = stat.LastIndexOf(')');
        return end < 0 ? null : stat[end + 2];
    }

    public static bool IsAlive(int processId) => State(processId) is not (null or 'Z' or 'X');

    /// <summary>Start of the process in clock ticks since boot, the same for whoever reads it; null when it is gone. A time of day would
    /// differ between readers, each of which computes the moment of the boot for itself.</summary>
    public static long? StartTicks(int processId)
    {
        const int StartTimeAfterName = 19; // Field 22; the name is field 2.
        var stat = Read($"/proc/{processId}/stat");
        var fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length > StartTimeAfterName ? long.Parse(fields[StartTimeAfterName]) : null;
    }

    /// <summary>Resident memory in bytes (VmRSS).</summary>
    public static long ResidentBytes(int processId)
    {
        foreach (var line in Read($"/proc/{processId}/status").Split('\n'))
            if (line.StartsWith("VmRSS:", StringComparison.Ordinal))
                return long.Parse(line[6..].Replace("kB", "", StringComparison.Ordinal).Trim()) * 1024;
        return 0;
    }

    /// <summary>User and system time of processes that ran so far, seconds (utime and stime, in ticks of 10 ms). One that is gone counts nothing.</summary>
    public static double ProcessorSeconds(IReadOnlyList<int> processIds)
    {
        var ticks = 0L;
        foreach (var id in processIds)
        {
            var stat = Read($"/proc/{id}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length >= 13)
                ticks += long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
        }
        return ticks / 100.0;
    }

    /// <summary>One line per thread: name, state, processor time in ticks, and where in the kernel it waits.</summary>
    public static string Threads(int processId) => string.Join("; ", Tasks(processId).Select(task =>
    {
        var stat = Read($"/proc/{processId}/task/{task}/stat");
        var fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length < 13
            ? $"{task} gone"
            : $"{Read($"/proc/{processId}/task/{task}/comm").TrimEnd('\n')} {fields[0]} {fields[11]}+{fields[12]} ticks {Read($"/proc/{processId}/task/{task}/wchan")}";
    }));

    private static IReadOnlyList<string> Tasks(int processId)
    {
        try
        {
            return [.. Directory.EnumerateDirectories($"/proc/{processId}/task").Select(path => Path.GetFileName(path))];
        }
        catch (IOException)
        {
            return [];
        }
    }

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return "";
        }
        catch (UnauthorizedAccessException)
        {
            return "";
        }
    }
}
