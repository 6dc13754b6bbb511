namespace Pollux.Tests.Unit.Fuse;

/// <summary>A fact that mounts a real FUSE file system; skipped, with the reason, where that is not possible.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class FuseFactAttribute : FactAttribute
{
    private static readonly string? s_obstacle = FindObstacle();

    /// <param name="programs">Programs that the test runs, by absolute path.</param>
    public FuseFactAttribute(params string[] programs) =>
        Skip = s_obstacle ?? (Array.Find(programs, program => !File.Exists(program)) is { } missing ? $"Needs {missing}." : null);

    private static string? FindObstacle()
    {
        if (!OperatingSystem.IsLinux())
            return "FUSE mounts need Linux.";
        if (Environment.UserName != "root")
            return "FUSE mounts by mount(2) need root.";
        try
        {
            using var device = File.Open("/dev/fuse", FileMode.Open, FileAccess.ReadWrite);
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"/dev/fuse cannot be opened: {e.Message}";
        }
    }
}
