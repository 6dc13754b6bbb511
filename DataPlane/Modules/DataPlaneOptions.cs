namespace Pollux.DataPlane.Modules;

/// <summary>How <c>pollux-host run</c> was called.</summary>
public sealed record DataPlaneOptions
{
    public const string DataDirectoryDefault = "/var/lib/pollux-host";
    public const string RunDirectoryDefault = "/run/pollux";
    public const int PeerPortDefault = 7410;
    public const int ReplicationPortDefault = 7411;

    public string DataDirectory { get; init; } = DataDirectoryDefault;

    /// <summary>Must be empty after each start of the machine (a tmpfs): its emptiness tells that power was lost.</summary>
    public string RunDirectory { get; init; } = RunDirectoryDefault;

    public int PeerPort { get; init; } = PeerPortDefault;
    public int ReplicationPort { get; init; } = ReplicationPortDefault;

    public string SocketPath => Path.Combine(RunDirectory, "host.sock");
}
