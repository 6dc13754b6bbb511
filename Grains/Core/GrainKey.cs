using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>Names and the two-part keys <c>cluster/name</c> that are made of them.</summary>
public static class GrainKey
{
    /// <summary>Characters. Long enough for a host name's first label, short enough for one line of status with two of them.</summary>
    public const int NameMax = 40;

    public static bool IsName(string? name)
    {
        if (name is null or "" || name.Length > NameMax || name[0] == '-' || name[^1] == '-') return false;
        foreach (var c in name)
            if (c is not (>= 'a' and <= 'z' or >= '0' and <= '9' or '-')) return false;
        return true;
    }

    /// <summary>Null if the name is good.</summary>
    /// <param name="what">For example <c>host</c>.</param>
    public static Problem? Check(string what, string? name) => IsName(name) ? null : Problems.BadName(what, name ?? "");

    public static string Of(string cluster, string name) => $"{cluster}/{name}";

    /// <summary>False unless the key is exactly two good names around one slash.</summary>
    public static bool TryParse(string? key, out string cluster, out string name)
    {
        (cluster, name) = ("", "");
        var slash = key?.IndexOf('/') ?? -1;
        if (slash < 0) return false;
        (cluster, name) = (key![..slash], key[(slash + 1)..]);
        return IsName(cluster) && IsName(name);
    }

    /// <summary>The part behind the slash; the whole key if it has none.</summary>
    public static string NameOf(string key) => key[(key.IndexOf('/') + 1)..];

    /// <summary>The part before the slash.</summary>
    public static string ClusterOf(string key) => key.IndexOf('/') is var slash and >= 0 ? key[..slash] : key;
}
