using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;
using Pollux.Tests.Simulation.Model;
using ArbiterRequest = Pollux.DataPlane.Core.Roles.ArbiterRequest;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>Two hosts and the arbiter as one value: the production <see cref="RoleMachine"/> twice and the production
/// <see cref="Arbiter.Decide"/>, with the rest reduced to what the rules speak of.</summary>
/// <remarks>
/// Time is a number of steps of <see cref="StepMs"/>, a quarter of the detection time: a lease is two steps, the margin one, and both
/// machines are fed a tick at each. Everything else happens between two steps, in any order. The guard halts a VM half a margin after the
/// end of its lease; this, and that both clocks run alike, is the assumption of S8. The copy is one block: a version number, what of it is
/// stable, and its durable mark. A write is made stable before it is acknowledged, and the guest has one at a time.
/// Files: .Events (what may happen), .Happen (what becomes of it), .Perform (effects of the machines), .Check (the rules).
/// </remarks>
internal sealed partial class Pair
{
    public const long StepMs = 1_000;

    public const long DetectionMs = 4 * StepMs;

    /// <summary>Beacons, and answers, that are under way in one direction; a newer one pushes out the oldest, which is lost.</summary>
    private const int BeaconsMax = 1;

    /// <summary>Requests, and replies, of one host that are under way; as with beacons.</summary>
    private const int RequestsMax = 2;

    private static readonly RoleTimings Timings = new(DetectionMs) { GracefulStopMs = StepMs };
    private static readonly RoleTimings Hasty = new(StepMs / 2) { GracefulStopMs = StepMs };
    private static readonly string[] Names = ["a", "b"];

    [ThreadStatic]
    private static Pair? stepping;

    private readonly Sabotage sabotage;
    private PairHost[] hosts;
    private int[] left;
    private int faultsLeft;
    private int writesLeft;
    private bool prompt;
    private long nowMs = 1_000_000;
    private long named;
    private Session? session;

    private ArbiterRecord record;
    private ArbiterRecord recordBefore;
    private (int Host, ArbiterRequest Request)[] strays = [];

    // What was promised to the guest.
    private long acknowledged = 1;
    private long inDoubt;
    private long acknowledgedEpoch;
    private int acknowledgedBy;

    public Pair(Sabotage sabotage)
    {
        this.sabotage = sabotage;
        hosts = [new PairHost { Copy = acknowledged, Stable = acknowledged }, new PairHost()];
        left = new int[Bounds.Kinds];
        named = 1;
        record = recordBefore = ArbiterRecord.ForNewModule(NewName(), "a", ["a", "b"]);
        foreach (var host in new[] { 0, 1 })
            StartProcess(host);
    }

    /// <summary>The first broken promise on the way here, or null.</summary>
    public string? Violation { get; private set; }

    public long NowMs => nowMs;

    public int FaultsLeft => faultsLeft;

    public bool SomeVmExecutes => Executes(0) || Executes(1);

    /// <summary>PRIM and SECOND, both ready.</summary>
    public bool Whole => hosts.All(host => host.Role?.View.Ready == true) && hosts.Any(host => host.Role!.View.Role == Role.Prim)
        && hosts.Any(host => host.Role!.View.Role == Role.Second);

    public bool Joining => hosts.Any(host => host.Role?.State.DataState == DataState.Inconsistent);

    public void Allow(Bounds bounds)
    {
        left = bounds.Left();
        faultsLeft = bounds.Faults;
        writesLeft = bounds.Writes;
        prompt = bounds.Prompt;
    }

    public Pair After(PairEvent happens)
    {
        var next = (Pair)MemberwiseClone();
        next.hosts = [hosts[0].Copied(), hosts[1].Copied()];
        next.left = (int[])left.Clone();
        next.Happen(happens);
        if (next.Violation is null)
            next.Check();
        return next;
    }

    /// <summary>The name of this state; states with the same future have the same.</summary>
    public UInt128 Hash(CanonicalWriter to)
    {
        to.Begin(nowMs, record.Epoch);
        foreach (var count in left)
            to.Number(count);
        to.Number(faultsLeft);
        to.Number(writesLeft);
        to.Record(record);
        to.Record(recordBefore);
        to.Version(acknowledged);
        to.Version(inDoubt);
        to.Epoch(acknowledgedEpoch);
        to.Number(acknowledgedBy);
        foreach (var host in hosts)
            host.Write(to);
        to.Flag(session is not null);
        session?.Write(to);
        to.Number(strays.Length);
        foreach (var (host, request) in strays)
        {
            to.Number(host);
            to.Request(request);
        }

        // A grant is looked up by the name of a request: one that nobody can ask again is forgotten.
        foreach (var grant in record.Granted)
            if (to.Knows(grant.OperationId))
            {
                to.Name(grant.OperationId);
                to.Epoch(grant.Epoch);
            }

        return to.Hash();
    }

    public override string ToString()
    {
        var text = $"{nowMs / StepMs - 1_000,3} arbiter: epoch {record.Epoch}, {record.Primary}, {{{string.Join(",", record.InSync)}}}";
        for (var host = 0; host < 2; host++)
        {
            var it = hosts[host];
            text += $"; {Names[host]}: {(it.Role is null ? it.Powered ? "no process" : "no power" : $"{it.Role.View.Role}{(it.Role.View.Ready ? "" : "…")} {it.Role.View.Code}")}"
                + $" e{(it.Role?.State ?? it.Stored).Record.Epoch} {(it.Role?.State ?? it.Stored).DataState} copy {it.Copy}/{it.Stable}{(it.Marked ? "*" : "")} VM {it.Vm}{(Executes(host) ? "" : " halted")}";
        }

        return text + $"; acknowledged {acknowledged}{(inDoubt == 0 ? "" : $", in doubt {inDoubt}")}{(session is null ? "" : $"; session {session.Phase} of {Names[session.Source]} {(session.SourceOpen ? "" : "source closed ")}{(session.TargetOpen ? "" : "target closed")}")}";
    }

    private static int Other(int host) => 1 - host;

    private Guid NewName() => new(1, 0, 0, BitConverter.GetBytes(++named));

    private static Guid NameForMachine() => stepping!.NewName();

    /// <summary>S8: the guard halts what has no lease, half a margin after its end.</summary>
    private bool Executes(int host)
    {
        var it = hosts[host];
        if (it.Vm != Machine.Running)
            return false;
        if (sabotage == Sabotage.NoPause)
            return true;
        return !it.VmPaused && (it.LeaseUntilMs == long.MaxValue || nowMs < it.LeaseUntilMs + Timings.MarginMs / 2);
    }

    private void Feed(int host, RoleInput input)
    {
        var it = hosts[host];
        if (it.Role is null || Violation is not null)
            return;
        if (!it.RoleOwned)
            (it.Role, it.RoleOwned) = (MachineImage.Copy(it.Role), true);
        var effects = new List<RoleEffect>();
        stepping = this;
        it.Role.Step(nowMs, input, effects);
        foreach (var effect in effects)
            Perform(host, effect);
    }

    private void StartProcess(int host)
    {
        var it = hosts[host];
        it.Vm = Machine.Off; // Made certain before the machine is made.
        it.VmPaused = false;
        it.LeaseUntilMs = 0;
        it.Incarnation = NewName();
        var timings = sabotage == Sabotage.TakeOverWithoutWaiting && host == 1 ? Hasty : Timings;
        var recovered = it.Stored;
        if (sabotage == Sabotage.PromoteOutdated && recovered.DataState is DataState.Outdated or DataState.Inconsistent)
            recovered = recovered with { DataState = DataState.UpToDate, Record = recovered.Record with { InSync = [Names[host]] } };
        if (sabotage == Sabotage.PromiseForgotten)
            recovered = recovered with { PromisedEpoch = 0 };
        it.Role = new RoleMachine(
            new RoleConfiguration("m", Names[host], Names[Other(host)], timings, it.Incarnation, it.Booted, NameForMachine), recovered, nowMs);
        it.RoleOwned = true;
        it.Booted = false;
        Feed(host, new RoleInput.Desired(true));
    }

    private void Violate(string what) => Violation ??= what;
}
