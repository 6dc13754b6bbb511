using System.Collections.Immutable;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>Which record holds after a restore or a loss of the control plane's database (rule S10).</summary>
/// <remarks>
/// A grant that neither host has stored has no effect anywhere: hosts store a record before they act on it (S1). So the hosts' records of after the
/// declaration are the truth, and what the database remembers counts only where it continues one of them. With one report the other host may
/// know, and have acknowledged writes under, a later epoch: that is for an operator to judge.
/// </remarks>
public static class RecordRecovery
{
    /// <summary>Epochs left out when one host's report was confirmed: those that the absent host may have seen. Epochs are part of object ids and of
    /// replication messages; none should be used twice. A module changes its record some times a day.</summary>
    public const long EpochsSkipped = 1_000;

    /// <param name="own">What the database remembers, or null.</param>
    /// <param name="testimonies">One for each host of the pair.</param>
    /// <param name="confirmed">The operator's word, or null.</param>
    /// <param name="incarnation">Of the record to be made.</param>
    public static RecoveryStep Decide(
        string module, ArbiterRecord? own, ImmutableArray<HostTestimony> testimonies, RecordConfirmation? confirmed, Guid incarnation)
    {
        if (testimonies.Length != ClusterMembership.HostsMax) return new RecoveryStep.Wait(Problems.RecordSilent(module, "The other host of the pair is not known yet."));
        var spoken = testimonies.Where(one => one.HasRecord).OrderByDescending(one => one.Record!.Epoch).ToArray();
        if (spoken.Length == 0)
        {
            var silent = testimonies.Where(one => !one.Answered).Select(one => GrainKey.NameOf(one.Host)).ToArray();
            if (silent.Length > 0) return new RecoveryStep.Wait(Problems.RecordSilent(module, $"Not reported yet: {string.Join(" and ", silent)}."));
            return testimonies.Any(one => one.Knows)
                ? new RecoveryStep.Wait(Problems.RecordForgotten(module, "Both hosts have reported; they have the module, and no readable record of it."))
                : new RecoveryStep.Unknown();
        }

        var highest = spoken[0];
        // Hosts ask for a change only when they have stored the record before it: further on than by one grant, a host has lost what it had stored.
        var behind = own is not null && own.Incarnation == highest.Record!.Incarnation && own.Epoch > highest.Record.Epoch + 1;
        if (!behind && spoken.Length == 2 && (spoken[1].Record!.Epoch < highest.Record!.Epoch || spoken[1].Record == highest.Record))
            return Made(own, testimonies, highest, 1, incarnation, "Both hosts have reported.");
        if (!behind && spoken.Length == 1 && testimonies.All(one => one.Answered) && NobodyCanHaveGoneOn(highest))
            return Made(own, testimonies, highest, 1, incarnation, "Nobody has been primary yet.");
        if (confirmed is { Host: { } host } && spoken.FirstOrDefault(one => one.Host == host && one.Record!.Epoch == confirmed.Epoch) is { } chosen)
            return Made(own, testimonies, chosen, EpochsSkipped, incarnation,
                $"{OperatorContext.InWords(confirmed.By)} confirmed the report of {GrainKey.NameOf(host)} of epoch {confirmed.Epoch}.");
        return new RecoveryStep.Wait(behind && spoken.Length == 2 ? Problems.RecordBehind(module, own!, highest)
            : spoken.Length == 2 ? Problems.RecordConflict(module, spoken[0], spoken[1])
            : Problems.RecordUnconfirmed(module, highest, testimonies.First(one => one.Host != highest.Host)));
    }

    /// <summary>The first change of a record is the takeover of the host whose directory became the module; nobody else can be in the set before it,
    /// and this host has not made it.</summary>
    private static bool NobodyCanHaveGoneOn(HostTestimony only) =>
        only.Record is { Primary: null } record && record.InSync is [var member] && member == only.Host;

    private static RecoveryStep Made(
        ArbiterRecord? own, ImmutableArray<HostTestimony> testimonies, HostTestimony winner, long step, Guid incarnation, string why)
    {
        var record = winner.Record!;
        var hosts = testimonies.Select(one => one.Host).ToImmutableArray();
        var (epoch, primary, inSync, from) = own is not null && own.Incarnation == record.Incarnation && own.Epoch > record.Epoch
            ? (own.Epoch, own.Primary, own.InSync, "the database")
            : (record.Epoch, record.Primary, record.InSync, GrainKey.NameOf(winner.Host));
        if (inSync.IsEmpty || (primary is not null && !inSync.Contains(primary)) || inSync.Any(host => !hosts.Contains(host)))
            return new RecoveryStep.Wait(Problems.RecordForgotten(winner.Module, $"The record that {from} has does not name hosts of this pair."));
        // An operator's word holds as long as its epoch is the last one: the host that it names may not have heard of it, and could not serve without.
        var declared = (own is not null && own.Incarnation == record.Incarnation && own.Epoch == epoch ? own.Declared : null)
            ?? testimonies.Select(one => one.Record).FirstOrDefault(said => said?.Incarnation == record.Incarnation && said.Epoch == epoch)?.Declared;
        return new RecoveryStep.Decided(
            new ArbiterRecord(incarnation, checked(epoch + step), primary, inSync, hosts, []) { Declared = declared }, winner,
            $"Recovered from epoch {epoch} of {from}. {why}");
    }
}

public abstract record RecoveryStep
{
    private RecoveryStep() { }

    /// <param name="Winner">Whose order of the module is taken.</param>
    public sealed record Decided(ArbiterRecord Record, HostTestimony Winner, string Cause) : RecoveryStep;

    /// <summary>Nothing is granted meanwhile.</summary>
    public sealed record Wait(Problem Problem) : RecoveryStep;

    /// <summary>Both hosts have reported, and neither has the module.</summary>
    public sealed record Unknown : RecoveryStep;
}
