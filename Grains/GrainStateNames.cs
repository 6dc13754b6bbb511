namespace Pollux.Grains;

/// <summary>Names under which grains store. Rows are keyed by service, state name and grain key, without the grain's class: each name is used once.</summary>
public static class GrainStateNames
{
    /// <summary>The storage provider.</summary>
    public const string Storage = "pollux";

    /// <summary>Not a grain's: the installation's one row.</summary>
    public const string Control = "control";

    public const string Fleet = "fleet";
    public const string Cluster = "cluster";
    public const string Host = "host";
    public const string MirrorModule = "mirror-module";
    public const string Vm = "vm";
}
