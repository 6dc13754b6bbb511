using System.Collections.Immutable;
using System.Globalization;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>A module's list of checkers: what may be in it, and each change told in one sentence.</summary>
public static class CheckerCommand
{
    /// <summary>Of one module: each has a task on its host, and perhaps a child process.</summary>
    public const int CountMax = 8;

    public const long EveryMsMin = 1_000;
    public const long EveryMsMax = 3_600_000;
    public const long TimeoutMsMin = 100;
    public const long TimeoutMsMax = 60_000;
    public const int FailuresMax = 100;
    public const long GraceMsMax = 3_600_000;
    public const int TargetLengthMax = 255;
    public const int ScriptNameLengthMax = 64;

    /// <param name="module">Grain key.</param>
    public static Problem? Check(string module, ModuleSpec spec, Checker checker) =>
        GrainKey.Check("checker", checker.Name) is { } badName ? badName
        : spec.Vm is null ? Problems.CheckerNoVm(module)
        : checker.Kind is not ("tcp" or "ping" or "guest" or "script") ? Problems.CheckerWord("kind of checker", checker.Kind)
        : checker.Then is not (Checker.Restart or Checker.Move) ? Problems.CheckerWord("consequence", checker.Then)
        : !IsTarget(checker.Kind, checker.Target) ? Problems.CheckerTarget(checker.Kind, checker.Target)
        : checker.EveryMs is < EveryMsMin or > EveryMsMax ? Problems.CheckerRange("every in ms", checker.EveryMs, EveryMsMin, EveryMsMax)
        : checker.TimeoutMs is < TimeoutMsMin or > TimeoutMsMax ? Problems.CheckerRange("timeout in ms", checker.TimeoutMs, TimeoutMsMin, TimeoutMsMax)
        : checker.Failures is < 1 or > FailuresMax ? Problems.CheckerRange("failures", checker.Failures, 1, FailuresMax)
        : checker.GraceMs is < 0 or > GraceMsMax ? Problems.CheckerRange("grace in ms", checker.GraceMs, 0, GraceMsMax)
        : spec.CheckersInForce.Length >= CountMax && !spec.CheckersInForce.Any(other => other.Name == checker.Name) ? Problems.CheckerLimit(module, CountMax)
        : null;

    /// <summary>In the place of the one with its name, or at the end.</summary>
    public static ImmutableArray<Checker> Set(ImmutableArray<Checker> checkers, Checker checker) =>
        checkers.FirstOrDefault(other => other.Name == checker.Name) is { } before ? checkers.Replace(before, checker) : checkers.Add(checker);

    public static ImmutableArray<Checker> Remove(ImmutableArray<Checker> checkers, string name) => checkers.RemoveAll(checker => checker.Name == name);

    /// <summary>For the history.</summary>
    public static string Tell(Checker checker) => string.Create(CultureInfo.InvariantCulture,
        $"checker {checker.Name}: {checker.Kind}{(checker.Target.Length > 0 ? " " + checker.Target : "")} every {checker.EveryMs} ms within {checker.TimeoutMs} ms, {checker.Failures} failures in a row, {checker.GraceMs} ms after a start, then {checker.Then}");

    /// <summary>What a host makes of it is for the host to say; a path or a command line it is never.</summary>
    private static bool IsTarget(string kind, string target) => target.Length <= TargetLengthMax && kind switch
    {
        "guest" => target.Length == 0,
        "tcp" => IsEndpoint(target),
        "ping" => IsHost(target),
        _ => target.Length is > 0 and <= ScriptNameLengthMax && char.IsAsciiLetterOrDigit(target[0])
            && target.All(static letter => char.IsAsciiLetterOrDigit(letter) || letter is '.' or '-' or '_'),
    };

    private static bool IsEndpoint(string target)
    {
        var colon = target.LastIndexOf(':');
        if (colon < 1 || !int.TryParse(target.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port is < 1 or > 65_535) return false;
        var host = target[..colon];
        var isV6 = host.Length > 2 && host[0] == '[' && host[^1] == ']';
        if (isV6) host = host[1..^1];
        return IsHost(host) && isV6 == host.Contains(':', StringComparison.Ordinal);
    }

    private static bool IsHost(string text) =>
        text.Length > 0 && text[0] is not ('-' or '.') && text.All(static letter => char.IsAsciiLetterOrDigit(letter) || letter is '.' or '-' or ':' or '%' or '_');
}
