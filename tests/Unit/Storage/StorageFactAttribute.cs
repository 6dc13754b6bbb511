using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Storage;

/// <summary>A test on a real directory: skipped, with the reason, where trusted extended attributes may not be written.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class StorageFactAttribute : FactAttribute
{
    private static readonly string? Reason = Probe();

    public StorageFactAttribute() => Skip = Reason!;

    private static string? Probe()
    {
        if (!OperatingSystem.IsLinux())
            return "Needs Linux.";
        using var directory = new TemporaryDirectory();
        try
        {
            ObjectStore.Open(directory.Path).Dispose();
            return null;
        }
        catch (StorageException e)
        {
            return e.Message;
        }
    }
}
