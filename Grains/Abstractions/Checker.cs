namespace Pollux.Grains.Abstractions;

/// <summary>A test of what runs in a module, made by the host that serves it while its VM runs; and what follows when it fails.</summary>
/// <param name="Kind"><c>tcp</c>, <c>ping</c>, <c>guest</c> or <c>script</c>.</param>
/// <param name="Target"><c>host:port</c>, an address, nothing, or the plain name of a script of the host's own.</param>
/// <param name="EveryMs">From the end of one test to the next.</param>
/// <param name="TimeoutMs">A test that has not ended by then has failed.</param>
/// <param name="Failures">So many in a row, and <paramref name="Then"/> follows.</param>
/// <param name="GraceMs">After a start of the VM; failures do not count before.</param>
/// <param name="Then"><c>restart</c> or <c>move</c>.</param>
[GenerateSerializer, Immutable, Alias("pollux.Checker")]
public sealed record Checker(
    [property: Id(0)] string Name, [property: Id(1)] string Kind, [property: Id(2)] string Target, [property: Id(3)] long EveryMs,
    [property: Id(4)] long TimeoutMs, [property: Id(5)] int Failures, [property: Id(6)] long GraceMs, [property: Id(7)] string Then)
{
    public const long EveryMsDefault = 10_000;
    public const long TimeoutMsDefault = 3_000;
    public const int FailuresDefault = 3;

    /// <summary>A guest that boots slowly must not be restarted for it.</summary>
    public const long GraceMsDefault = 60_000;

    public const string Restart = "restart";
    public const string Move = "move";
}

/// <summary>A checker as a host sees it, field by field as in the host protocol's <c>ObservedChecker</c>.</summary>
/// <param name="State"><c>well</c>, <c>failing</c>, <c>unwell</c>, <c>grace</c>, <c>resting</c>, <c>off</c> or <c>unable</c>.</param>
/// <param name="SinceUnixMs">When that began; failing and unwell count from the first failure.</param>
/// <param name="Next">What follows, or what was done, in words.</param>
[GenerateSerializer, Immutable, Alias("pollux.CheckerReport")]
public sealed record CheckerReport(
    [property: Id(0)] string Name, [property: Id(1)] string State, [property: Id(2)] long SinceUnixMs, [property: Id(3)] int FailuresInRow,
    [property: Id(4)] string Reason, [property: Id(5)] string Next);
