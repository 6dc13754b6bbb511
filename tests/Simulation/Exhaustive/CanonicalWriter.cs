using System.Numerics;
using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;
using ArbiterRequest = Pollux.DataPlane.Core.Roles.ArbiterRequest;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>Writes a state so that two states with the same future have the same bytes: times count from now and are cut off in the past,
/// epochs count back from the arbiter's, and names that are only compared (ids, incarnations, bases, versions of the data) are numbered in the
/// order in which they appear.</summary>
internal sealed class CanonicalWriter
{
    private readonly byte[] bytes = new byte[16_384];
    private readonly List<Guid> names = [];
    private readonly List<long> versions = [];
    private int length;
    private long nowMs;
    private long arbiterEpoch;

    public void Begin(long nowMs, long arbiterEpoch)
    {
        this.nowMs = nowMs;
        this.arbiterEpoch = arbiterEpoch;
        length = 0;
        names.Clear();
        versions.Clear();
    }

    public void Number(long value)
    {
        var rest = (ulong)((value << 1) ^ (value >> 63));
        while (rest >= 0x80)
        {
            bytes[length++] = (byte)(rest | 0x80);
            rest >>= 7;
        }

        bytes[length++] = (byte)rest;
    }

    public void Flag(bool value) => bytes[length++] = value ? (byte)1 : (byte)0;

    public void Present(object? value) => Flag(value is not null);

    /// <summary>A time; what is longer ago than <paramref name="pastMaxMs"/> is all the same.</summary>
    public void Time(long atMs, long pastMaxMs) => Number(atMs == long.MaxValue ? long.MaxValue : Math.Max(atMs - nowMs, -pastMaxMs));

    public void TimeOrNone(long? atMs, long pastMaxMs)
    {
        Flag(atMs is not null);
        if (atMs is { } known)
            Time(known, pastMaxMs);
    }

    /// <summary>Zero and less are words of their own: nothing known, none.</summary>
    public void Epoch(long epoch) => Number(epoch <= 0 ? epoch - 1 : arbiterEpoch - epoch);

    public void Name(Guid name)
    {
        if (name == Guid.Empty)
        {
            Number(0);
            return;
        }

        var index = names.IndexOf(name);
        if (index < 0)
        {
            index = names.Count;
            names.Add(name);
        }

        Number(index + 1);
    }

    public void NameOrNone(Guid? name) => Name(name ?? Guid.Empty);

    /// <summary>Whether a name has appeared already.</summary>
    public bool Knows(Guid name) => names.Contains(name);

    /// <summary>What a copy holds; zero is nothing.</summary>
    public void Version(long version)
    {
        if (version == 0)
        {
            Number(0);
            return;
        }

        var index = versions.IndexOf(version);
        if (index < 0)
        {
            index = versions.Count;
            versions.Add(version);
        }

        Number(index + 1);
    }

    public void Host(string? host) => Number(host is null ? 0 : host[0]);

    public void Record(AuthorityRecord record)
    {
        Name(record.Incarnation);
        Epoch(record.Epoch);
        Host(record.Primary);
        Number(record.InSync.Length);
        foreach (var member in record.InSync)
            Host(member);
    }

    public void Record(ArbiterRecord record)
    {
        Name(record.Incarnation);
        Epoch(record.Epoch);
        Host(record.Primary);
        Number(record.InSync.Length);
        foreach (var member in record.InSync)
            Host(member);
    }

    public void State(LocalState state)
    {
        Record(state.Record);
        Number((int)state.DataState);
        Name(state.SyncBase);
        Name(state.PendingSyncBase);
        Flag(state.Run);
        Flag(state.LostPower);
        Flag(state.HeldAtBoot);
        Flag(state.Policy.FailoverOff);
        Flag(state.Policy.StaysDownAtBoot);
        Flag(state.Policy.ChecksOff);
        Epoch(state.PromisedEpoch);
    }

    public void Request(ArbiterRequest? request)
    {
        Flag(request is not null);
        if (request is null)
            return;
        Name(request.OperationId);
        Name(request.RecordIncarnation);
        Epoch(request.ExpectedEpoch);
        Number((int)request.Change);
        Host(request.By);
    }

    /// <summary>Without the sequence: which one it is matters only for when it was sent, and that is written with it.</summary>
    public void Beacon(Beacon? beacon)
    {
        Flag(beacon is not null);
        if (beacon is null)
            return;
        Name(beacon.Incarnation);
        Number((int)beacon.Role);
        Flag(beacon.Ready);
        Number((int)beacon.DataState);
        Record(beacon.Record);
        Flag(beacon.WithoutLease);
        Flag(beacon.LostPower);
        Flag(beacon.StopRequested);
        Flag(beacon.WorkloadRuns);
        Flag(beacon.Leaves);
        Epoch(beacon.PromisedEpoch);
        Flag(beacon.PeerReleased);
    }

    public void Problem(RoleProblem problem)
    {
        foreach (var character in problem.Code)
            bytes[length++] = (byte)character;
        bytes[length++] = 0;
    }

    public void Shown((Role Role, AuthorityRecord Record, bool Run) shown)
    {
        Number((int)shown.Role);
        Flag(shown.Record is not null);
        if (shown.Record is not null)
            Record(shown.Record);
        Flag(shown.Run);
    }

    /// <summary>128 bits: with a hundred million states, two that share them are less likely than one in 10^22.</summary>
    public UInt128 Hash()
    {
        ulong first = 0x9E3779B97F4A7C15, second = 0xC2B2AE3D27D4EB4F ^ (ulong)length;
        bytes.AsSpan(length, 8).Clear();
        for (var at = 0; at < length; at += 8)
        {
            var word = BitConverter.ToUInt64(bytes, at);
            first = BitOperations.RotateLeft((first ^ word) * 0xFF51AFD7ED558CCD, 31);
            second = BitOperations.RotateLeft((second + word) * 0xC4CEB9FE1A85EC53, 29) ^ first;
        }

        return new UInt128(Mix(first ^ (second >> 32)), Mix(second + first));
    }

    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCD;
        value = (value ^ (value >> 33)) * 0xC4CEB9FE1A85EC53;
        return value ^ (value >> 33);
    }
}
