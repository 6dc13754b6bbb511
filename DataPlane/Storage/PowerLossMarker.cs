namespace Pollux.DataPlane.Storage;

/// <summary>Tells a restart of the process from a restart of the host: writes that were not flushed survive the first, not the second
/// (rule S2). The marker lies under /run, which is empty after a boot, and names the boot it was made in.</summary>
public sealed class PowerLossMarker(string runDirectory, string bootIdPath = PowerLossMarker.KernelBootId)
{
    /// <summary>proc_sys_kernel(5): a random id made at boot.</summary>
    public const string KernelBootId = "/proc/sys/kernel/random/boot_id";

    private readonly string path = Path.Combine(runDirectory, "powered");

    /// <summary>This host has lost power or rebooted since the marker was set, or it never was.</summary>
    public bool LostPower()
    {
        try
        {
            return File.ReadAllText(path) != File.ReadAllText(bootIdPath);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return true;
        }
    }

    /// <summary>Sets the marker. To be done once every module has stored durably what a loss of power means for it: after a crash in
    /// between the next start must see the loss again.</summary>
    public void Set()
    {
        Directory.CreateDirectory(runDirectory);
        File.WriteAllText(path, File.ReadAllText(bootIdPath));
    }
}
