using System.Collections.Immutable;
using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;
using Pollux.Tests.Simulation.Model;
using ArbiterRequest = Pollux.DataPlane.Core.Roles.ArbiterRequest;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>The rules, seen from above both hosts and the arbiter.</summary>
internal sealed partial class Pair
{
    private void Check()
    {
        if (Executes(0) && Executes(1))
            Violate("S8: two VMs execute at the same time");
        foreach (var member in record.InSync)
        {
            var it = hosts[member[0] - 'a'];
            // S9: what has promised to leave is a member by name only.
            if (it.Stored.PromisedEpoch == 0 && (!IsTrue(it.Copy) || !IsTrue(it.Stable)))
                Violate($"S2: {member} is in sync and its copy holds {it.Copy} (stable {it.Stable}); acknowledged is {acknowledged}");
        }

        // S6: what a crash at this moment would leave says of copies that differ that they may differ.
        var (a, b) = (hosts[0], hosts[1]);
        if ((a.Copy != b.Copy || a.Stable != b.Stable) && !a.Marked && !b.Marked && Comparable())
            Violate($"S6: the copies differ ({a.Copy}/{a.Stable} and {b.Copy}/{b.Stable}) and no mark says so");
    }

    private bool IsTrue(long version) => version == acknowledged || (inDoubt != 0 && version == inDoubt);

    /// <summary>A session that would begin now would go by marks.</summary>
    private bool Comparable()
    {
        if (record.Primary is null)
            return false;
        var mine = hosts[record.Primary[0] - 'a'].Stored;
        var theirs = hosts[Other(record.Primary[0] - 'a')].Stored.SyncBase;
        return theirs != Guid.Empty && (theirs == mine.SyncBase || theirs == mine.PendingSyncBase);
    }

    private void CheckDecided(ArbiterRequest request, ArbiterRecord after)
    {
        if (after.Epoch != record.Epoch + 1)
            Violate($"S1: epoch {record.Epoch} became {after.Epoch}");
        if (after.InSync.Length == 0)
            Violate("S3: the set is empty");
        if (request.Change != RecordChange.Join && !after.InSync.All(record.InSync.Contains))
            Violate($"S3: {request.By} is made a member by {request.Change}");
        if (request.Change == RecordChange.Takeover && hosts[request.By[0] - 'a'].Stored.PromisedEpoch != 0)
            Violate($"S3: {request.By} takes over with a promise to leave");
        if (request.Change == RecordChange.Takeover && hosts[request.By[0] - 'a'].Stored.DataState != DataState.UpToDate && record.Epoch > 1)
            Violate($"S3: {request.By} takes over with a stored state of {hosts[request.By[0] - 'a'].Stored.DataState}");
    }

    /// <summary>S1: one writer in an epoch, none of an older after one of a newer. S2: every member has applied it and made it stable.</summary>
    private void CheckAcknowledged(int host, long written)
    {
        var epoch = hosts[host].Epoch;
        if (epoch < acknowledgedEpoch || (epoch == acknowledgedEpoch && host != acknowledgedBy))
            Violate($"S1: {Names[host]} acknowledges in epoch {epoch} after {Names[acknowledgedBy]} in epoch {acknowledgedEpoch}");
        (acknowledgedEpoch, acknowledgedBy) = (epoch, host);
        foreach (var member in record.InSync)
            if (hosts[member[0] - 'a'].Stable != written && hosts[member[0] - 'a'].Stored.PromisedEpoch == 0)
                Violate($"S2: {Names[host]} acknowledges {written}; the member {member} has {hosts[member[0] - 'a'].Stable} stable");
        if (written != inDoubt)
            Violate($"S2: {Names[host]} acknowledges {written}, which a VM has found undone since");
    }

    private void CheckVmReads(int host)
    {
        if (!IsTrue(hosts[host].Copy))
            Violate($"S2: the VM starts on {Names[host]} and reads {hosts[host].Copy}; acknowledged is {acknowledged}");
    }

    /// <summary>S7: the target has left the record, by its own stored state too; and nothing older is copied over what is newer.</summary>
    private void CheckOverwritten(int target)
    {
        var (it, source) = (hosts[target], hosts[Other(target)]);
        if (record.InSync.Contains(Names[target]))
            Violate($"S7: {Names[target]} is overwritten by a resync and is in the in-sync set");
        if (it.Stored.DataState != DataState.Inconsistent)
            Violate($"S7: {Names[target]} is overwritten by a resync and its stored state is {it.Stored.DataState}");
        if (!IsTrue(source.Copy))
            Violate($"S5: {source.Copy} is copied to {Names[target]}, which holds {it.Copy}; acknowledged is {acknowledged}");
    }

    private void CheckEqual(string when)
    {
        var (a, b) = (hosts[0], hosts[1]);
        if (a.Copy != b.Copy)
            Violate($"S6: {when}: the copies differ ({a.Copy} and {b.Copy})");
    }
}
