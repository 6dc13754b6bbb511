using System.Collections.Immutable;

namespace Pollux.DataPlane.Core.Roles;

/// <summary>The arbiter's record of a module as a host holds it durably: who may write, and who holds every acknowledged write.</summary>
/// <param name="Incarnation">Identity of the record itself: a rebuilt or restored record is a new one (rule S10).</param>
/// <param name="Epoch">Grows by one with each change of the record (rule S1). 0 means: nothing known yet.</param>
/// <param name="Primary">The host that may write, or null before the first start.</param>
/// <param name="InSync">The in-sync set by host name; never empty once known.</param>
public sealed record AuthorityRecord(Guid Incarnation, long Epoch, string? Primary, ImmutableArray<string> InSync)
{
    public static readonly AuthorityRecord None = new(Guid.Empty, 0, null, []);

    /// <summary>The only member of this epoch, if an operator has declared its copy to be the module although it lacks acknowledged writes
    /// (force-promote, S3). Incarnation and epoch name the record; this is part of what it says.</summary>
    public string? Declared { get; init; }

    public bool Contains(string host) => InSync.Contains(host);

    public bool Equals(AuthorityRecord? other) =>
        other is not null && Incarnation == other.Incarnation && Epoch == other.Epoch && Primary == other.Primary
        && InSync.AsSpan().SequenceEqual(other.InSync.AsSpan());

    public override int GetHashCode() => HashCode.Combine(Incarnation, Epoch, Primary, InSync.Length);

    public override string ToString() => $"epoch {Epoch}, primary {Primary ?? "none"}, in sync {{{string.Join(", ", InSync)}}}";
}

/// <summary>The durable truth of one module on one host. The role machine owns it; the runtime stores it crash-safe
/// (checksummed, fsync, atomic replace) before it performs the effects that follow a <see cref="RoleEffect.SaveState"/>.</summary>
/// <param name="Record">The newest record this host has acted on or obeyed.</param>
/// <param name="DataState">State of this host's copy.</param>
/// <param name="SyncBase">Names the moment at which both copies were last proven equal and flushed; dirty marks count from it.
/// A returning host is resynced by marks only if both hosts name the same base, otherwise in full.</param>
/// <param name="PendingSyncBase">The base that a running resync will establish: the source stores it before the resync, the
/// target takes it as its base at the end. A match with either of the source's two bases is a match.</param>
/// <param name="Run">Whether the operator wants the module to run.</param>
public sealed record LocalState(AuthorityRecord Record, DataState DataState, Guid SyncBase, Guid PendingSyncBase, bool Run)
{
    /// <summary>The host lost power since its copy was last primary or in sync: unflushed writes may be missing (rule S2). Stored, because a
    /// process that restarts again before it is in sync must still know.</summary>
    public bool LostPower { get; init; }

    /// <summary>The epoch in which this host, as SECOND, promised not to become primary (S9), or 0. It holds in every epoch until this copy has
    /// been resynced, which needs a record that left it out.</summary>
    public long PromisedEpoch { get; init; }

    /// <summary>Milliseconds since each crash of the workload that counts, oldest first, when this was stored: a limit of restarts outlives the process.
    /// Whoever loads it adds the time since (<see cref="Aged"/>).</summary>
    public ImmutableArray<long> CrashAgesMs
    {
        get;
        init => field = value.IsDefault ? [] : value;
    } = [];

    /// <summary>The newest one that this host was told; stored, so that it holds while the control plane is away.</summary>
    public ModulePolicy Policy
    {
        get;
        init => field = value ?? ModulePolicy.Default; // States of earlier versions have none.
    } = ModulePolicy.Default;

    /// <summary>The newest start by command that this host has obeyed: a newer one ends <see cref="HeldAtBoot"/>.</summary>
    public long Starts { get; init; }

    /// <summary>The host has booted since the last start by command, and the policy wants the module down until the next one.</summary>
    public bool HeldAtBoot { get; init; }

    /// <summary>What this state means once the host has started anew.</summary>
    public LocalState AfterBoot() => this with { LostPower = true, HeldAtBoot = HeldAtBoot || (Policy.StaysDownAtBoot && Run) };

    /// <param name="sinceStoredMs">By the wall clock, as there is no other over a restart of the machine; nothing but the limit of restarts depends on it.</param>
    public LocalState Aged(long sinceStoredMs) =>
        CrashAgesMs.IsEmpty || sinceStoredMs <= 0 ? this : this with { CrashAgesMs = [.. CrashAgesMs.Select(ageMs => ageMs + sinceStoredMs)] };

    public bool Equals(LocalState? other) =>
        other is not null && Record == other.Record && DataState == other.DataState && SyncBase == other.SyncBase && PendingSyncBase == other.PendingSyncBase
        && Run == other.Run && LostPower == other.LostPower && Policy == other.Policy && Starts == other.Starts && HeldAtBoot == other.HeldAtBoot
        && PromisedEpoch == other.PromisedEpoch
        && CrashAgesMs.AsSpan().SequenceEqual(other.CrashAgesMs.AsSpan());

    public override int GetHashCode() => HashCode.Combine(Record, DataState, SyncBase, PendingSyncBase, Run, LostPower, CrashAgesMs.Length);

    public static readonly LocalState Fresh = new(AuthorityRecord.None, DataState.Unknown, Guid.Empty, Guid.Empty, false);
}
