using Pollux.Lab.Guest;

namespace Pollux.Lab.Machines;

/// <summary>What a machine needs for the lab.</summary>
public static class LabRequirements
{
    private static readonly string[] Programs =
        ["ip", "nft", "unshare", "nsenter", "setsid", "libvirtd", "virsh", "qemu-system-x86_64", "mkfs.ext4", "gcc", "busybox", "getfattr"];

    /// <summary>Why the lab cannot run here, with the cure; null when it can.</summary>
    public static string? MissingReason()
    {
        if (!OperatingSystem.IsLinux())
            return "The lab needs Linux.";
        if (!Environment.IsPrivilegedProcess)
            return "The lab needs root (namespaces, mounts, loop devices): run it with sudo.";
        if (Missing(Programs) is { Count: > 0 } missing)
            return $"These programs are missing: {string.Join(", ", missing)}; eng/setup installs them.";
        if (!File.Exists("/dev/fuse"))
            return "There is no /dev/fuse: load the kernel module 'fuse'.";
        return GuestImage.MissingReason() is { } guest ? $"The lab has no guest: {guest}." : NamespacesReason();
    }

    /// <summary>Which of these programs are not there.</summary>
    public static IReadOnlyList<string> Missing(IEnumerable<string> programs) => [.. programs.Where(program => !IsOnPath(program))];

    private static string? NamespacesReason()
    {
        try
        {
            var tried = Shell.RunAsync(["unshare", "-n", "-m", "-u", "-i", "-p", "-f", "true"]).GetAwaiter().GetResult();
            return tried.Succeeded ? null : $"This machine does not allow new namespaces: {tried.Said}";
        }
        catch (LabException e)
        {
            return e.Message;
        }
    }

    private static bool IsOnPath(string program) =>
        ((Environment.GetEnvironmentVariable("PATH") ?? "") + ":/usr/sbin:/sbin").Split(':')
        .Any(folder => folder.Length > 0 && File.Exists(Path.Combine(folder, program)));
}
