using Pollux.DataPlane.Core.Replication;
using Pollux.Grains.Core;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Thrown at the first broken promise; the run ends there.</summary>
internal sealed class SafetyViolation(string message) : Exception(message);

/// <summary>Knows what was acknowledged to whom, sees both hosts and the arbiter at once, and checks the safety rules at each event.</summary>
internal sealed class Truth(World world)
{
    private readonly Dictionary<long, string> writerOfEpoch = [];
    private readonly MarkedDifferences marked = new();
    private long epochAcknowledgedMax;
    private (SimHost? Peer, long Epoch) joinAsked;

    public long Acknowledged { get; private set; }

    public long Flushes { get; private set; }

    public long FlushesBegun { get; private set; }

    /// <summary>When the newest acknowledged flush of everything began.</summary>
    public long FlushedAllMs { get; private set; } = -1;

    public long Failed { get; private set; }

    public long Takeovers { get; private set; }

    /// <summary>VMs that outlived the process that served them.</summary>
    public long Continued { get; private set; }

    public void Begins(GuestOperation operation)
    {
        foreach (var (cell, value) in operation.Changes)
            cell.ChangeBegins(operation.Number, value);
    }

    public IReadOnlyList<(Cell Cell, long Number)> FlushBegins(ulong obj)
    {
        FlushesBegun++;
        return [.. world.Layout.Cells.Where(cell => obj == 0 || cell.Object == obj).Select(cell => (cell, cell.AcknowledgedNumber))];
    }

    /// <summary>The VM is about to be told. An error is no promise, but for one: it is said in the epoch of a writer.</summary>
    public void Ends(SimHost host, long epoch, GuestOperation operation, int errno)
    {
        if (errno != 0)
        {
            Failed++;
            return;
        }

        CheckWriter(host, epoch);
        if (operation.Kind == GuestOperationKind.Flush)
            FlushAcknowledged(host, operation);
        else
            ChangeAcknowledged(host, operation);
    }

    private void ChangeAcknowledged(SimHost host, GuestOperation operation)
    {
        Acknowledged++;
        // If a member lost what was unflushed since, with its power say, it may have lost this after it had applied it.
        var lost = world.Hosts.Any(other => other.UnflushedLostMs >= operation.BegunMs);
        foreach (var (cell, _) in operation.Changes)
        {
            // S2: applied by every member.
            foreach (var member in lost ? [] : world.Heirs)
                Require(cell.MayBe(cell.Now(member.Disk), operation.Number),
                    $"S2: {host.Name} acknowledged {operation}; member {member.Name} holds {cell.Now(member.Disk)} in {cell}");
            cell.ChangeAcknowledged(operation.Number, lost);
        }
    }

    /// <summary>The disk of a serving host refused a write that may be on its way to the peer.</summary>
    public void Refused(ulong obj, long offsetBytes, ReadOnlySpan<byte> content)
    {
        var number = System.Buffers.Binary.BinaryPrimitives.ReadInt64LittleEndian(content);
        foreach (var cell in world.Layout.ContentFrom(obj, offsetBytes, offsetBytes + content.Length))
            cell.ChangeRefused(number);
    }

    private void FlushAcknowledged(SimHost host, GuestOperation flush)
    {
        Flushes++;
        if (flush.Object == 0)
            FlushedAllMs = Math.Max(FlushedAllMs, flush.BegunMs);
        foreach (var (cell, number) in flush.MakesStable)
        {
            // S2: on stable storage of every member.
            foreach (var member in world.Heirs.Where(member => !member.Disk.HasLied))
                Require(cell.MayBeStable(cell.Stable(member.Disk), number),
                    $"S2: {host.Name} acknowledged a flush of change {number} of {cell}; member {member.Name} has {cell.Stable(member.Disk)} stable");
            // Who believes a disk that lies can promise no more than that.
            if (!world.Hosts.Any(other => other.Disk.HasLied && MayBeMember(other)))
                cell.FlushAcknowledged(number);
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

    /// <summary>A member is in from the moment of asking (S2), and may be granted when whoever asked is gone.</summary>
    public void JoinAsked(SimHost by, long expectedEpoch) => joinAsked = (by.Peer, expectedEpoch);

    /// <summary>A host loses what is not flushed there, now or later: its power went, or the kernel could not write its pages back and
    /// keeps them only as long as it likes. After the latter no flush of them may be acknowledged.</summary>
    public void UnflushedLost(SimHost host)
    {
        if (!MayBeMember(host))
            return;
        foreach (var cell in world.Layout.Cells)
            cell.MemberLostUnflushed();
    }

    private bool MayBeMember(SimHost host) =>
        world.Heirs.Contains(host) || (joinAsked.Peer == host && joinAsked.Epoch == world.Arbiter.Record.Epoch) || host.Peer.Engine is { HoldsForPeer: true };

    /// <summary>A VM begins to execute: there is no other, and it reads what was acknowledged (S2, S6, S7).</summary>
    public void WorkloadBegins(SimHost host)
    {
        CheckExecution();
        Takeovers++;
        foreach (var cell in world.Layout.Cells)
        {
            var value = cell.Now(host.Disk);
            Require(cell.MayBe(value), $"S2/S6: the VM starts on {host.Name} and reads {value} in {cell}; allowed are {cell.Allowed}");
            // Left by a VM before: the range lock keeps this one from reading it before it has ended. And a member that has lost power, and is
            // not left out yet, may go first when this host dies: what it holds may be read then.
            var lostByMember = world.Heirs.Any(member => member != host && member.UnflushedLostMs >= 0 && cell.Now(member.Disk) != value);
            if (host.Engine?.InFlight(cell) == true)
                continue;
            cell.Found(value);
            if (!lostByMember)
                cell.Seen(value, cell.AfterLoss(host.Disk));
        }
    }

    /// <summary>The VM reads: what it was told to be done, or what it has asked for since.</summary>
    public void Reads(SimHost host, Cell cell) =>
        Require(cell.MayBe(cell.Now(host.Disk)), $"S2: the VM on {host.Name} reads {cell.Now(host.Disk)} in {cell}; allowed are {cell.Allowed}");

    /// <summary>A VM of an earlier process is served again: what it reads is what was acknowledged, to it or to another, or what it has asked
    /// for.</summary>
    public void WorkloadGoesOn(SimHost host)
    {
        CheckExecution();
        foreach (var cell in world.Layout.Cells)
            Require(cell.MayBe(cell.Now(host.Disk)), $"S2/S6: the VM goes on with {host.Name} and reads {cell.Now(host.Disk)} in {cell}; allowed are {cell.Allowed}");
        Continued++;
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
        if (request.Change != ArbiterChange.Takeover)
            return;
        var stored = world.Host(request.By).Stored;
        Require(stored.DataState == DataPlane.Core.Roles.DataState.UpToDate, $"S3: {request.By} took over with a stored state of {stored.DataState}");
        Require(stored.PromisedEpoch == 0, $"S3: {request.By} took over with a promise to leave of epoch {stored.PromisedEpoch}");
    }

    /// <summary>S6: both copies are equal, apart from what is being written.</summary>
    public void CheckEqual(string when)
    {
        if (Difference() is { } difference)
            throw new SafetyViolation($"{when}: {difference}");
    }

    /// <summary>The first difference of the copies that no operation under way explains.</summary>
    private string? Difference()
    {
        var (a, b) = (world.Hosts[0], world.Hosts[1]);
        foreach (var range in Differences.Of(a.Disk, b.Disk))
        {
            if (!InFlight(a, range) && !InFlight(b, range))
                return $"{range} differs: {range.First} on {a.Name}, {range.Second} on {b.Name}";
        }

        return null;
    }

    /// <summary>S6: what a crash at this moment would leave says of every range in which the copies differ that they may differ, unless it
    /// says that everything may. A write under way is no exception: its mark is stable before the data is written anywhere.</summary>
    public void CheckMarked(string when)
    {
        if (Comparable() is { } pair)
            marked.Check(pair.Source, pair.Target, when);
        else
            marked.Forget(world.Hosts);
    }

    /// <summary>By the record, the source and the target of a session that would begin now and go by marks, if there are such.</summary>
    private (SimHost Source, SimHost Target)? Comparable()
    {
        if (world.Arbiter.Record.Primary is not { } primary)
            return null;
        var source = world.Host(primary);
        var (mine, theirs) = (source.Stored, source.Peer.Stored.SyncBase);
        return theirs != Guid.Empty && (theirs == mine.SyncBase || theirs == mine.PendingSyncBase) ? (source, source.Peer) : null;
    }

    private static bool InFlight(SimHost host, Difference range) =>
        host.Engine?.InFlight(range.Object, range.OffsetBytes, range.LengthBytes) == true;

    public static void Require(bool holds, string message)
    {
        if (!holds)
            throw new SafetyViolation(message);
    }
}
