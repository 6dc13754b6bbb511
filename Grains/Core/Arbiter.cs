using System.Collections.Immutable;

namespace Pollux.Grains.Core;

/// <summary>Decides on requests for the record of a module: a pure compare-and-set.</summary>
/// <remarks>
/// Invariants, for every record that comes out: the epoch grew by one or nothing changed (S1); the in-sync set is not empty and the
/// primary is in it (S3); members are hosts of the cluster.
/// Only grants are remembered: a refusal repeats itself, because a request is decided by the record alone, the record of an epoch never
/// changes, and a later epoch refuses it too. So a late duplicate of a refused request can do no harm, and refusing writes nothing.
/// </remarks>
public static class Arbiter
{
    /// <summary>Requests. A host has one change open at a time and repeats it until it is decided; two hosts, and some room for looking
    /// at the past. A forgotten grant repeats as a refusal that carries the record, which is safe: the record is obeyed.</summary>
    public const int GrantsRememberedMax = 16;

    /// <summary>The caller persists the returned record, if it is another one, before it answers.</summary>
    public static (ArbiterDecision Decision, ArbiterRecord Record) Decide(ArbiterRecord record, ArbiterRequest request)
    {
        if (!record.Hosts.Contains(request.By))
            return Refuse(record, $"{request.By} is not a host of this module's cluster.");
        if (request.Change == ArbiterChange.Look)
            return (new ArbiterDecision(true, record, ""), record);
        if (!record.Hosts.Contains(request.Peer) || request.Peer == request.By)
            return Refuse(record, $"{request.Peer} is not the peer of {request.By} in this module's cluster.");
        if (request.RecordIncarnation != record.Incarnation)
            return Refuse(record, "The record was rebuilt or restored since: another incarnation."); // S10: open requests are void.
        if (record.Granted.Any(grant => grant.OperationId == request.OperationId))
            return (new ArbiterDecision(true, record, ""), record);
        if (request.ExpectedEpoch != record.Epoch)
            return Refuse(record, $"Expected epoch {request.ExpectedEpoch}, the record is at {record.Epoch}.");

        return request.Change switch
        {
            // S3: from the set only, and it leaves only the asker: the old primary may hold unacknowledged writes.
            ArbiterChange.Takeover => record.InSync.Contains(request.By)
                ? Grant(record, request, request.By, [request.By])
                : Refuse(record, $"{request.By} is not in the in-sync set."),
            ArbiterChange.Exclude => IsPrimary(record, request)
                ? Grant(record, request, request.By, [request.By])
                : Refuse(record, $"{request.By} is not the primary."),
            ArbiterChange.Join => IsPrimary(record, request)
                ? Grant(record, request, request.By, [request.By, request.Peer])
                : Refuse(record, $"{request.By} is not the primary."),
            // S3: a handover keeps both.
            ArbiterChange.Handover => !IsPrimary(record, request) ? Refuse(record, $"{request.By} is not the primary.")
                : !record.InSync.Contains(request.Peer) ? Refuse(record, $"{request.Peer} is not in the in-sync set.")
                : Grant(record, request, request.Peer, [request.By, request.Peer]),
            _ => Refuse(record, $"Unknown change {(int)request.Change}."),
        };
    }

    /// <summary>force-promote: by an operator's word, the copy of this host is the module from the next epoch on, and what it lacks is given up. What
    /// was asked before is void with the epoch. Whether the word may be taken is for <see cref="ForcePromotion"/> to say.</summary>
    /// <exception cref="ArgumentException"><paramref name="host"/> is not one of the record's.</exception>
    public static ArbiterRecord Declare(ArbiterRecord record, string host) =>
        record.Hosts.Contains(host)
            ? record with { Epoch = checked(record.Epoch + 1), Primary = host, InSync = [host], Declared = host }
            : throw new ArgumentException($"{host} is not a host of this module's cluster.", nameof(host));

    private static bool IsPrimary(ArbiterRecord record, ArbiterRequest request) =>
        record.Primary == request.By && record.InSync.Contains(request.By);

    private static (ArbiterDecision, ArbiterRecord) Grant(
        ArbiterRecord record, ArbiterRequest request, string primary, ImmutableArray<string> inSync)
    {
        var epoch = checked(record.Epoch + 1);
        var granted = record.Granted.Length < GrantsRememberedMax ? record.Granted : record.Granted[^(GrantsRememberedMax - 1)..];
        var changed = record with
        {
            Epoch = epoch,
            Primary = primary,
            InSync = inSync.Sort(StringComparer.Ordinal),
            Granted = granted.Add(new ArbiterGrant(request.OperationId, epoch)),
            Declared = null,
        };
        return (new ArbiterDecision(true, changed, ""), changed);
    }

    private static (ArbiterDecision, ArbiterRecord) Refuse(ArbiterRecord record, string reason) =>
        (new ArbiterDecision(false, record, reason), record);
}
