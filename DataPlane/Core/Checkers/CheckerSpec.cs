using System.Globalization;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Core.Checkers;

public enum CheckerKind
{
    /// <summary>A TCP connection to the target, <c>host:port</c>, is accepted.</summary>
    Tcp,

    /// <summary>The target, an address or a name, answers an ICMP echo request.</summary>
    Ping,

    /// <summary>The guest agent in the VM answers <c>guest-ping</c>.</summary>
    Guest,

    /// <summary>A program of the host's own configuration, named by the target, exits with 0.</summary>
    Script,
}

/// <summary>What is tested on the host that serves a module, while its VM runs, and what follows.</summary>
/// <param name="Target">Empty for <see cref="CheckerKind.Guest"/>.</param>
/// <param name="EveryMs">From the end of one test to the next.</param>
/// <param name="TimeoutMs">A test that has not ended by then has failed.</param>
/// <param name="Failures">So many in a row, and it counts.</param>
/// <param name="GraceMs">After a start of the VM; failures do not count before.</param>
public sealed record CheckerSpec(
    string Name, CheckerKind Kind, string Target, long EveryMs, long TimeoutMs, int Failures, long GraceMs, CheckAction Then)
{
    /// <summary>Checkers of one module: each has a task and perhaps a child process.</summary>
    public const int CountMax = 8;

    public const long EveryMsMin = 1_000;
    public const long EveryMsMax = 3_600_000;
    public const long TimeoutMsMin = 100;
    public const long TimeoutMsMax = 60_000;
    public const int FailuresMax = 100;
    public const long GraceMsMax = 3_600_000;
    public const int TargetLengthMax = 255;

    /// <param name="why">In words, if there is none.</param>
    /// <returns>Null if this version of the host cannot test it: the control plane may be newer.</returns>
    public static CheckerSpec? Read(
        string name, string kind, string? target, long everyMs, long timeoutMs, int failures, long graceMs, string then, out string why)
    {
        target ??= "";
        CheckerKind? known = kind switch { "tcp" => CheckerKind.Tcp, "ping" => CheckerKind.Ping, "guest" => CheckerKind.Guest, "script" => CheckerKind.Script, _ => null };
        CheckAction? action = then switch { "restart" => CheckAction.Restart, "move" => CheckAction.Move, _ => null };
        why = known is null ? $"This host has no checker of the kind '{kind}'."
            : action is null ? $"This host does not know what to do by '{then}'."
            : everyMs is < EveryMsMin or > EveryMsMax || timeoutMs is < TimeoutMsMin or > TimeoutMsMax || failures is < 1 or > FailuresMax || graceMs is < 0 or > GraceMsMax
                ? "One of its times or its number of failures is out of bounds."
            : target.Length > TargetLengthMax ? "Its target is too long."
            : known == CheckerKind.Tcp && !IsEndpoint(target, out _, out _) ? $"'{target}' is not HOST:PORT."
            : known == CheckerKind.Ping && !IsHost(target) ? $"'{target}' is not an address or the name of a host."
            : known == CheckerKind.Script && !IsScriptName(target) ? $"'{target}' is not the plain name of a file."
            : "";
        return why.Length > 0 ? null : new CheckerSpec(name, known!.Value, target, everyMs, timeoutMs, failures, graceMs, action!.Value);
    }

    /// <summary><c>host:port</c>, or <c>[address]:port</c> for IPv6.</summary>
    public static bool IsEndpoint(string target, out string host, out int port)
    {
        (host, port) = ("", 0);
        var colon = target.LastIndexOf(':');
        if (colon < 1 || !int.TryParse(target.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out port) || port is < 1 or > 65_535)
            return false;
        host = target[..colon];
        var isV6 = host.Length > 2 && host[0] == '[' && host[^1] == ']';
        if (isV6)
            host = host[1..^1];
        return IsHost(host) && isV6 == host.Contains(':', StringComparison.Ordinal);
    }

    private static bool IsHost(string text) =>
        text.Length > 0 && text[0] is not ('-' or '.') && text.All(static letter => char.IsAsciiLetterOrDigit(letter) || letter is '.' or '-' or ':' or '%' or '_');

    /// <summary>Neither a path nor hidden.</summary>
    public static bool IsScriptName(string name) =>
        name.Length is > 0 and <= 64 && char.IsAsciiLetterOrDigit(name[0]) && name.All(static letter => char.IsAsciiLetterOrDigit(letter) || letter is '.' or '-' or '_');
}
