using Pollux.Grains.Core;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Thrown at the first broken promise; the run ends there.</summary>
internal sealed class SafetyViolation(string message) : Exception(message);

/// <summary>Knows what was acknowledged to whom, sees both hosts and the arbiter at once, and checks the safety rules at each event.</summary>
internal sealed class Truth(World world)
{
    /// <summary>Write numbers that a block may hold when a VM reads it next: the last acknowledged one and those begun after it.</summary>
    private readonly SortedSet<long>[] allowed = NewSets();

    /// <summary>Earlier ones, acknowledged since the last acknowledged flush: a member that loses power may lose what came after them.</summary>
    private readonly SortedSet<long>[] unflushed = NewSets();

    private readonly Dictionary<long, string> writerOfEpoch = [];
    private long epochAcknowledgedMax;

    public long Acknowledged { get; private set; }

    public long Flushes { get; private set; }

    public long Takeovers { get; private set; }

    public void WriteBegins(int block, long number) => allowed[block].Add(number);

    public long[] FlushBegins() => [.. allowed.Select(values => values.Min)];

    /// <param name="begunMs">If a member lost power since, it may have lost this write after it had applied it, as any unflushed one.</param>
    public void WriteAcknowledged(SimHost host, long epoch, int block, long number, long begunMs)
    {
        Acknowledged++;
        CheckWriter(host, epoch);
        // S2: applied by every member.
        foreach (var member in world.Members)
            Require(member.Volume.AppliedMax[block] >= number,
                $"S2: {host.Name} acknowledged write {number} of block {block}; member {member.Name} holds {member.Volume.Applied[block]}");
        var powerLost = world.Hosts.Any(other => other.PowerLostMs >= begunMs);
        foreach (var older in allowed[block].Where(value => value < number).ToList())
        {
            if (!powerLost)
                allowed[block].Remove(older);
            unflushed[block].Add(older);
        }
    }

    public void FlushAcknowledged(SimHost host, long epoch, long[] atBegin)
    {
        Flushes++;
        CheckWriter(host, epoch);
        for (var block = 0; block < Volume.Blocks; block++)
        {
            // S2: on stable storage of every member.
            foreach (var member in world.Members)
                Require(member.Volume.Stable[block] >= atBegin[block],
                    $"S2: {host.Name} acknowledged a flush of write {atBegin[block]} of block {block}; member {member.Name} has {member.Volume.Stable[block]} stable");
            unflushed[block].RemoveWhere(value => value < atBegin[block]);
        }
    }

    /// <summary>S1: one writer in an epoch, and none of an older epoch after one of a newer.</summary>
    private void CheckWriter(SimHost host, long epoch)
    {
        Require(epoch >= epochAcknowledgedMax, $"S1: {host.Name} acknowledged in epoch {epoch} after an acknowledgement in epoch {epochAcknowledgedMax}");
        epochAcknowledgedMax = epoch;
        writerOfEpoch.TryAdd(epoch, host.Name);
        Require(writerOfEpoch[epoch] == host.Name, $"S1: {host.Name} and {writerOfEpoch[epoch]} both acknowledged in epoch {epoch}");
    }

    public void PowerLost(SimHost host)
    {
        // A member is in from the moment of asking (S2).
        if (!world.Members.Contains(host) && host.Peer.Engine is not { HoldsForPeer: true })
            return;
        for (var block = 0; block < Volume.Blocks; block++)
            allowed[block].UnionWith(unflushed[block]);
    }

    /// <summary>A VM begins to execute: there is no other, and it reads what was acknowledged (S2, S6, S7).</summary>
    public void WorkloadBegins(SimHost host)
    {
        CheckExecution();
        Takeovers++;
        for (var block = 0; block < Volume.Blocks; block++)
        {
            var value = host.Volume.Applied[block];
            Require(allowed[block].Contains(value),
                $"S2/S6: the VM starts on {host.Name} and reads write {value} in block {block}; allowed are {string.Join(", ", allowed[block])}");
            if (host.Engine?.InFlight(block) is not null)
                continue; // Left by a VM before: the range lock keeps this one from reading it before it has ended.
            unflushed[block].UnionWith(allowed[block].Where(other => other < value));
            allowed[block].Clear();
            allowed[block].Add(value);
        }
    }

    public void CheckExecution() =>
        Require(!world.Hosts.All(host => host.Vm.Executes), "Two VMs execute at the same time");

    /// <summary>S7: the target has left the record, by its own stored state too, before its first byte is overwritten.</summary>
    public void TargetOverwritten(SimHost target)
    {
        Require(!world.Members.Contains(target), $"S7: {target.Name} is overwritten by a resync and is in the in-sync set");
        Require(target.Stored.DataState == DataPlane.Core.Roles.DataState.Inconsistent,
            $"S7: {target.Name} is overwritten by a resync and its stored state is {target.Stored.DataState}");
    }

    public void Decided(ArbiterRecord before, ArbiterRequest request, ArbiterRecord after)
    {
        if (ReferenceEquals(before, after))
            return;
        Require(after.Epoch == before.Epoch + 1, $"S1: epoch {before.Epoch} became {after.Epoch}");
        Require(after.InSync.Length > 0, "S3: the set is empty");
        Require(request.Change == ArbiterChange.Join || after.InSync.All(before.InSync.Contains), "S3: a change other than a join added a member");
        if (request.Change == ArbiterChange.Takeover)
            Require(world.Host(request.By).Stored.DataState == DataPlane.Core.Roles.DataState.UpToDate,
                $"S3: {request.By} took over with a stored state of {world.Host(request.By).Stored.DataState}");
    }

    /// <summary>S6: both copies are equal, apart from what is being written.</summary>
    public void CheckEqual(string when)
    {
        var (a, b) = (world.Hosts[0], world.Hosts[1]);
        for (var block = 0; block < Volume.Blocks; block++)
            if (a.Engine?.InFlight(block) is null && b.Engine?.InFlight(block) is null)
                Require(a.Volume.Applied[block] == b.Volume.Applied[block],
                    $"{when}: block {block} is {a.Volume.Applied[block]} on {a.Name} and {b.Volume.Applied[block]} on {b.Name}");
    }

    private static SortedSet<long>[] NewSets() => [.. Enumerable.Range(0, Volume.Blocks).Select(_ => new SortedSet<long> { 0 })];

    private static void Require(bool holds, string message)
    {
        if (!holds)
            throw new SafetyViolation(message);
    }
}
