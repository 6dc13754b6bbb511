using System.Collections.Immutable;

namespace Pollux.Grains.Core;

/// <summary>Who may write a module, and who holds every acknowledged write of it. Changed only by <see cref="Arbiter.Decide"/>,
/// persisted before the decision is answered.</summary>
/// <param name="Incarnation">Identity of the record; a rebuild or a restore makes a new one, and open requests are void (rule S10).</param>
/// <param name="Epoch">Grows by one with each change (rule S1); 1 when the module is created.</param>
/// <param name="Primary">The host that may write; null before the first start.</param>
/// <param name="InSync">The in-sync set; never empty (rule S3). At creation: the host whose directory becomes the module.</param>
/// <param name="Hosts">The two hosts of the cluster: nobody else may ask or be named.</param>
/// <param name="Granted">The last granted requests, newest last; at most <see cref="Arbiter.GrantsRememberedMax"/>.</param>
[GenerateSerializer, Immutable, Alias("pollux.ArbiterRecord")]
public sealed record ArbiterRecord(
    [property: Id(0)] Guid Incarnation,
    [property: Id(1)] long Epoch,
    [property: Id(2)] string? Primary,
    [property: Id(3)] ImmutableArray<string> InSync,
    [property: Id(4)] ImmutableArray<string> Hosts,
    [property: Id(5)] ImmutableArray<ArbiterGrant> Granted)
{
    /// <summary>The only member, if an operator has declared its copy to be the module in this epoch, whatever it lacks (S3).</summary>
    [Id(6)] public string? Declared { get; init; }

    /// <summary>The record of a new module: no primary yet, in sync is the host that holds its directory.</summary>
    /// <exception cref="ArgumentException"><paramref name="source"/> is not one of <paramref name="hosts"/>.</exception>
    public static ArbiterRecord ForNewModule(Guid incarnation, string source, ImmutableArray<string> hosts) =>
        hosts.Contains(source)
            ? new ArbiterRecord(incarnation, 1, null, [source], hosts, [])
            : throw new ArgumentException($"{source} is not a host of the cluster.", nameof(source));
}

/// <param name="OperationId">The id of the granted request.</param>
/// <param name="Epoch">The epoch that the grant made.</param>
[GenerateSerializer, Immutable, Alias("pollux.ArbiterGrant")]
public sealed record ArbiterGrant([property: Id(0)] Guid OperationId, [property: Id(1)] long Epoch);
