using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>Drives one role machine (host a, peer b, detection 3 s: beacons every 200 ms, lease 1.5 s, margin 0.75 s, degrade after
/// 0.9 s) and writes down inputs (&gt;) and effects. The transcript is compared with a golden file; POLLUX_REWRITE_GOLDEN=1 rewrites it.</summary>
internal sealed class Scenario
{
    public static readonly Guid RecordIncarnation = new(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    public static readonly Guid PeerIncarnation = new(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    public static readonly Guid BaseOne = new(3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
    private static readonly Guid SelfIncarnation = new(4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

    private readonly StringBuilder transcript = new();
    private readonly RoleMachine machine;
    private readonly List<RoleEffect> all = [];
    private int operations;
    private long beaconSequence;
    private ArbiterRequest? look;
    private Beacon? lastShown;
    private Beacon? last;

    /// <param name="kept">An earlier process has left a volume with users and its workload.</param>
    public Scenario(LocalState recovered, bool lostPower = false, bool kept = false)
    {
        machine = new RoleMachine(
            new RoleConfiguration("m", "a", "b", new RoleTimings(3_000) { GracefulStopMs = 5_000 }, SelfIncarnation, lostPower, NewOperationId)
            {
                VolumeHeld = kept,
                WorkloadKept = kept,
            }, recovered, 0);
        Feed(new RoleInput.Tick());
    }

    public long NowMs { get; private set; }

    public RoleView View => machine.View;

    public LocalState State => machine.State;

    public IReadOnlyList<RoleEffect> Effects => all;

    /// <summary>The change that was asked last.</summary>
    public ArbiterRequest? Change { get; private set; }

    public static AuthorityRecord Record(long epoch, string? primary, params string[] inSync) => new(RecordIncarnation, epoch, primary, [.. inSync]);

    public static LocalState Stored(AuthorityRecord record, DataState data = DataState.UpToDate, bool run = true) => new(record, data, BaseOne, Guid.Empty, run);

    public int Count<T>() where T : RoleEffect => all.OfType<T>().Count();

    public void Feed(RoleInput input)
    {
        if (input is not RoleInput.Tick)
            transcript.Append(CultureInfo.InvariantCulture, $"{NowMs,6} > {Tell(input)}\n");
        var effects = new List<RoleEffect>();
        machine.Step(NowMs, input, effects);
        foreach (var effect in effects)
            Note(effect);
    }

    /// <summary>Time passes with nothing but ticks.</summary>
    public void Wait(long forMs) => Pass(forMs, () => { });

    /// <summary>Time passes while the peer answers each beacon at once.</summary>
    public void WaitAnswered(long forMs) => Pass(forMs, Answer);

    /// <summary>Time passes while beacons of the peer come in.</summary>
    public void WaitHearing(long forMs, Func<Beacon> beacon) => Pass(forMs, () => Hear(beacon()));

    /// <summary>Time passes while the arbiter shows the same record to each look.</summary>
    public void WaitLooking(long forMs, AuthorityRecord record) => Pass(forMs, () => Looked(record));

    public void Pass(long forMs, Action afterEachTick)
    {
        var endMs = NowMs + forMs;
        while (machine.NextDeadlineMs <= endMs)
        {
            NowMs = Math.Max(NowMs, machine.NextDeadlineMs);
            Feed(new RoleInput.Tick());
            afterEachTick();
        }

        NowMs = endMs;
        Feed(new RoleInput.Tick());
    }

    public void Saved() => Feed(new RoleInput.StateSaved(long.MaxValue));

    /// <summary>The arbiter shows this record to the last look, if one is out.</summary>
    public void Looked(AuthorityRecord record)
    {
        if (look is not { } asked)
            return;
        look = null;
        Feed(new RoleInput.ArbiterAnswered(new ArbiterAnswer(asked.OperationId, ArbiterOutcome.Granted, record, "")));
    }

    public void Granted(AuthorityRecord record) => Decided(ArbiterOutcome.Granted, record, "");

    public void Refused(AuthorityRecord record) => Decided(ArbiterOutcome.Refused, record, "not so");

    public void Undecided() => Decided(ArbiterOutcome.Unknown, null, "no answer");

    private void Decided(ArbiterOutcome outcome, AuthorityRecord? record, string reason) =>
        Feed(new RoleInput.ArbiterAnswered(new ArbiterAnswer(Change!.OperationId, outcome, record, reason)));

    public Beacon PeerBeacon(Role role, AuthorityRecord record, DataState data = DataState.UpToDate, bool withoutLease = false,
        bool lostPower = false, bool stopRequested = false, Guid? incarnation = null) => new(
        incarnation ?? PeerIncarnation, ++beaconSequence, role, true, data, record, withoutLease, lostPower, stopRequested, role is Role.Prim or Role.Alone);

    /// <summary>As the newest of the peer's, however often the same is said.</summary>
    public void Hear(Beacon beacon) => Feed(new RoleInput.BeaconReceived(beacon with { Sequence = ++beaconSequence }));

    /// <summary>The peer answers the last beacon.</summary>
    public void Answer() => Feed(new RoleInput.BeaconAnswered(new BeaconAnswer(SelfIncarnation, last!.Sequence, PeerIncarnation)));

    public void Check([CallerMemberName] string name = "", [CallerFilePath] string file = "")
    {
        var path = Path.Combine(Path.GetDirectoryName(file)!, "Golden", name + ".txt");
        if (Environment.GetEnvironmentVariable("POLLUX_REWRITE_GOLDEN") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, transcript.ToString());
        }

        Assert.Equal(File.ReadAllText(path), transcript.ToString());
    }

    private Guid NewOperationId() => new(5, 0, 0, BitConverter.GetBytes((long)++operations));

    private void Note(RoleEffect effect)
    {
        all.Add(effect);
        switch (effect)
        {
            case RoleEffect.AskArbiter { Request: { Change: RecordChange.Look } request }:
                look = request;
                return;
            case RoleEffect.AskArbiter ask:
                Change = ask.Request;
                break;
            case RoleEffect.SendBeacon send:
                last = send.Beacon;
                if (lastShown is { } shown && shown with { Sequence = last.Sequence } == last)
                    return;
                lastShown = last;
                break;
            case RoleEffect.AnswerBeacon:
                return;
        }

        transcript.Append(CultureInfo.InvariantCulture, $"{NowMs,6}   {Tell(effect)}\n");
    }

    private static string Tell(RoleInput input) => input switch
    {
        RoleInput.ArbiterAnswered answered => $"arbiter: {answered.Answer.Outcome} {answered.Answer.Record}",
        RoleInput.BeaconReceived { Beacon: var b } =>
            $"beacon {b.Role} {b.DataState} [{b.Record}]{(b.WithoutLease ? " without lease" : "")}{(b.LostPower ? " lost power" : "")}{(b.StopRequested ? " stop requested" : "")}{TellLeaving(b)}",
        RoleInput.BeaconAnswered => "beacon answered",
        RoleInput.StateSaved => "saved",
        RoleInput.Desired desired => $"Desired {{ Run = {desired.Run} }}",
        RoleInput.Command command => command.Kind.ToString(),
        RoleInput.ResyncStarting => "ResyncStarting",
        RoleInput.ReplicaFlushed => "ReplicaFlushed",
        RoleInput.PeerCaughtUp => "PeerCaughtUp",
        RoleInput.SessionUp => "SessionUp",
        _ => input.ToString(),
    };

    private static string TellLeaving(Beacon b) =>
        $"{(b.Leaves ? " leaves" : "")}{(b.PromisedEpoch != 0 ? $" promised {b.PromisedEpoch}" : "")}{(b.PeerReleased ? " peer released" : "")}";

    private static string Tell(RoleEffect effect) => effect switch
    {
        RoleEffect.SaveState save => $"save [{save.State.Record}] {save.State.DataState}{(save.State.Run ? " run" : "")}{(save.State.LostPower ? " lost-power" : "")}{(save.State.PromisedEpoch != 0 ? $" promised {save.State.PromisedEpoch}" : "")}",
        RoleEffect.AskArbiter ask => $"ask {ask.Request.Change} at epoch {ask.Request.ExpectedEpoch} (request {BitConverter.ToInt64(ask.Request.OperationId.ToByteArray(), 8)})",
        RoleEffect.SendBeacon { Beacon: var b } => $"beacon {b.Role}{(b.Ready ? " ready" : "")} {b.DataState} [{b.Record}]{(b.WithoutLease ? " without lease" : "")}{(b.StopRequested ? " stop requested" : "")}{(b.WorkloadRuns ? " runs" : "")}{TellLeaving(b)}",
        RoleEffect.RoleChanged changed => $"{changed.Role} {(changed.Ready ? "ready" : "transient")} {changed.Code}: {changed.Cause}",
        RoleEffect.ExtendLease { UntilMs: long.MaxValue } => "lease: none needed",
        RoleEffect.ExtendLease lease => $"lease until {lease.UntilMs}",
        RoleEffect.AllowResync => "AllowResync",
        RoleEffect.ConfirmResynced => "ConfirmResynced",
        RoleEffect.CommandDone done => $"command {(done.Succeeded ? "done" : "failed")}: {done.Reason}",
        _ => effect.ToString()!.Replace(" { }", "", StringComparison.Ordinal),
    };
}
