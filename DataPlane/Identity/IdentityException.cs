namespace Pollux.DataPlane.Identity;

/// <summary>Joining or loading the identity failed; the message says what to do.</summary>
public sealed class IdentityException(string code, string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Stable, for example <c>join.token</c>.</summary>
    public string Code { get; } = code;

    internal static IdentityException NotJoined(string directory) => new("host.not-joined",
        $"This host has not joined a cluster: there is no identity in {directory}. "
        + "On the server run 'pollux host add CLUSTER/HOST', then here 'pollux-host join --server URL --token TOKEN'.");

    internal static IdentityException Newer(string directory, int version, int known) => new("host.identity",
        $"The identity in {directory} has version {version}; this pollux-host knows versions up to {known}. Install the newer one again.");

    internal static IdentityException Unusable(string directory, Exception cause) => new("host.identity",
        $"The identity in {directory} cannot be used: {cause.Message}. Restore it from a backup, or remove the directory and join again.", cause);
}
