namespace Pollux.DataPlane.Storage;

/// <summary>Where a host keeps what it must remember of a module: <c>&lt;state directory&gt;/modules/&lt;key&gt;/{state,activity-log,dirty}</c>, the key
/// percent-encoded so that it is one name.</summary>
public static class ModuleStateDirectory
{
    public const string StateFile = "state";
    public const string ActivityLogFile = "activity-log";
    public const string CheckpointFile = "dirty";

    public static string PathFor(string stateDirectory, string moduleKey)
    {
        ArgumentException.ThrowIfNullOrEmpty(moduleKey);
        var name = Uri.EscapeDataString(moduleKey);
        // "." and ".." are the two escaped forms that mean another directory.
        if (name.All(c => c == '.'))
            name = name.Replace(".", "%2E", StringComparison.Ordinal);
        return Path.Combine(stateDirectory, "modules", name);
    }
}
