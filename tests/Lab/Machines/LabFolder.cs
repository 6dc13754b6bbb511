using System.Globalization;

namespace Pollux.Lab.Machines;

/// <summary>
/// Where labs keep their files: one folder per lab with a file "owner" (process id and start time of the program that made
/// it; a demo that is left running has none). It must be on a disk file system: O_DIRECT and extended attributes are used.
/// </summary>
public static class LabFolder
{
    public const string OwnerFile = "owner";

    public static string Root => Environment.GetEnvironmentVariable("POLLUX_LAB_DIR") ?? "/var/tmp/pollux-lab";

    public static string Of(string id) => Path.Combine(Root, id);

    /// <summary>Two labs must not choose the same network: held while a lab is made.</summary>
    public static async Task<FileStream> LockAsync()
    {
        Directory.CreateDirectory(Root);
        var path = Path.Combine(Root, ".lock");
        return await Eventually.GetAsync("the lab folder's lock is free", TimeSpan.FromSeconds(60), () =>
        {
            try
            {
                return Task.FromResult<FileStream?>(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
            }
            catch (IOException)
            {
                return Task.FromResult<FileStream?>(null);
            }
        });
    }

    public static void Claim(string id)
    {
        var path = Path.Combine(Of(id), OwnerFile);
        // In one step: who tidies up meanwhile must not read half an owner.
        File.WriteAllText(path + ".new", $"{Environment.ProcessId} {StartTimeOf(Environment.ProcessId)}");
        File.Move(path + ".new", path);
    }

    public static void GiveUp(string id) => File.Delete(Path.Combine(Of(id), OwnerFile));

    /// <summary>Labs whose owner died without tidying up.</summary>
    public static IReadOnlyList<string> Abandoned() => !Directory.Exists(Root) ? [] :
        [.. Directory.EnumerateDirectories(Root).Select(Path.GetFileName).OfType<string>().Where(IsAbandoned)];

    /// <summary>Ends everything of a lab and deletes its files. Works from the names alone, so that another process than
    /// the one that made it can do it.</summary>
    public static async Task RemoveAsync(string id)
    {
        var prefix = $"plx-{id}-";
        var spaces = (await Shell.CheckAsync("ip", "netns", "list")).Output
            .Split('\n').Select(line => line.Split(' ')[0]).Where(name => name.StartsWith(prefix, StringComparison.Ordinal)).ToList();
        foreach (var space in spaces)
        {
            await EndProcessesAsync(space);
            await Shell.CheckAsync("ip", "netns", "del", space);
        }
        await Shell.RunAsync(["ip", "link", "del", "plx-" + id]);
        var folder = Of(id);
        foreach (var mount in MountsBelow(folder))
            await Shell.CheckAsync("umount", mount);
        if (MountsBelow(folder).Count > 0)
            throw new LabException($"Something is still mounted below {folder}; its files are kept.");
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
    }

    private static async Task EndProcessesAsync(string space)
    {
        await Eventually.TrueAsync($"every process in {space} is gone", TimeSpan.FromSeconds(15), async () =>
        {
            var ids = (await Shell.CheckAsync("ip", "netns", "pids", space)).Output
                .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => int.Parse(line, CultureInfo.InvariantCulture)).ToList();
            foreach (var id in ids)
                Signals.Send(id, Signals.Kill);
            return ids.Count == 0;
        });
    }

    private static List<string> MountsBelow(string folder) =>
        [.. File.ReadAllLines("/proc/self/mounts").Select(line => line.Split(' ')[1])
            .Where(path => path.StartsWith(folder + "/", StringComparison.Ordinal)).Reverse()];

    private static bool IsAbandoned(string id)
    {
        var path = Path.Combine(Of(id), OwnerFile);
        if (!File.Exists(path))
            return false;
        var words = File.ReadAllText(path).Split(' ');
        return words is not [var process, var startTime]
            || !int.TryParse(process, NumberStyles.None, CultureInfo.InvariantCulture, out var processId)
            || StartTimeOf(processId) != startTime;
    }

    private static string StartTimeOf(int processId) => ProcFs.StartTicks(processId)?.ToString(CultureInfo.InvariantCulture) ?? "";
}
