using System.Globalization;
using Pollux.DataPlane.Fuse;

namespace Pollux.Tests.Unit.Fuse;

/// <summary>A scratch directory with one file under a cover; takes everything away at the end.</summary>
internal sealed class FuseSandbox : IDisposable
{
    public const string SecretName = "secret.img";
    public const string SecretText = "the copy under the mount";
    public static readonly TimeSpan Timeout = TimeSpan.FromSeconds(20);
    private readonly string _parent = Directory.CreateTempSubdirectory("pollux-fuse-").FullName;

    public FuseSandbox()
    {
        Path = System.IO.Path.Combine(_parent, "with space");
        Directory.CreateDirectory(Path);
        File.WriteAllText(System.IO.Path.Combine(Path, SecretName), SecretText);
        Covered = CoveredDirectory.Open(Path, Timeout);
    }

    public string Path { get; }

    public CoveredDirectory Covered { get; private set; }

    /// <summary>The secret, read through the descriptor that was opened before the mounts.</summary>
    public string SecretUnderTheMount => File.ReadAllText(Below(SecretName));

    /// <summary>A path to what lies under the mounts.</summary>
    public string Below(string name) =>
        System.IO.Path.Combine("/proc/self/fd", Covered.Handle.DangerousGetHandle().ToString(CultureInfo.InvariantCulture), name);

    public string File1(string name) => System.IO.Path.Combine(Path, name);

    public FuseSession Start(IFuseHandler handler, FuseSessionOptions? options = null) =>
        FuseSession.Start(Covered, handler, options ?? new FuseSessionOptions { Source = "pollux-test" });

    /// <summary>What a restarted process does.</summary>
    public void Reopen()
    {
        Covered.Dispose();
        Covered = CoveredDirectory.Open(Path, Timeout);
    }

    public void Dispose()
    {
        Covered.Uncover();
        Covered.Dispose();
        Directory.Delete(_parent, recursive: true);
    }
}
