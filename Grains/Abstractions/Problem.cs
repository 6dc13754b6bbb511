namespace Pollux.Grains.Abstractions;

/// <summary>Something an operator has to know, told alike by API, command line and log.</summary>
/// <param name="Code">Stable dotted name, for example <c>module.limit</c>; scripts rely on it.</param>
/// <param name="Title">What it is, in a few words.</param>
/// <param name="Impact">What it means for the service.</param>
/// <param name="Cause">What led to it, with names and figures.</param>
/// <param name="Action">What to do next.</param>
[GenerateSerializer, Immutable, Alias("pollux.Problem")]
public sealed record Problem(
    [property: Id(0)] string Code,
    [property: Id(1)] string Title,
    [property: Id(2)] string Impact,
    [property: Id(3)] string Cause,
    [property: Id(4)] string Action);

/// <summary>The end of a command: done, or refused with a problem and nothing changed.</summary>
[GenerateSerializer, Immutable, Alias("pollux.Outcome")]
public sealed record Outcome([property: Id(0)] Problem? Problem)
{
    public static readonly Outcome Done = new((Problem?)null);

    public static Outcome Refused(Problem problem) => new(problem);
}
