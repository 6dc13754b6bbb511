using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;
using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>A whole pair of the simulation with a writing guest, to which one thing after the other happens at exact moments. Nothing else
/// fails by chance, but times vary with the seed; all rules are checked at every step, as in the random runs.</summary>
internal sealed class PairStory
{
    /// <summary>Enough for every order of what may overlap in the few milliseconds around a moment.</summary>
    private const ulong Seeds = 12;
    private const int TraceLinesShownMax = 150;

    /// <summary>Longer than any story.</summary>
    public const long EverMs = 10_000_000;

    private readonly List<(string Who, string What, Action Then)> awaited = [];

    private PairStory(ulong seed, Sabotage sabotage)
    {
        World = new World(seed, sabotage, quiet: true) { GuestWrites = true };
        World.Said = Heard;
        foreach (var host in World.Hosts)
            host.Start();
        World.Desire(true);
        Until("the pair is whole", () => SimulationRun.Whole(World));
        Primary = World.Hosts.Single(host => host.Machine!.View.Role == Role.Prim);
        Pass(500);
    }

    public World World { get; }

    /// <summary>Who was the primary when the story began.</summary>
    public SimHost Primary { get; }

    public SimHost Secondary => Primary.Peer;

    public long DetectionMs => World.DetectionMs;

    public ArbiterRecord Record => World.Arbiter.Record;

    /// <summary>What a host with everybody else gone needs at most: silence, S8's times, a start. And some for VMs that do not stop at once.</summary>
    public long RunsAgainMs => 4 * DetectionMs + 10_000;

    /// <summary>Tells the story on several seeds; afterwards everything is healed, and the pair has to become whole and equal.</summary>
    public static void Tell(Action<PairStory> story, Sabotage sabotage = Sabotage.None)
    {
        for (var seed = 1ul; seed <= Seeds; seed++)
            Tell(seed, story, sabotage);
    }

    /// <summary>The same again and again, with a moment that moves on: something happens before each of so many steps.</summary>
    public static void TellForEach(IEnumerable<int> moments, Action<PairStory, int> story)
    {
        foreach (var moment in moments)
            Tell((ulong)(1 + moment % 5), one => story(one, moment), Sabotage.None, $", moment {moment}");
    }

    public static void Tell(ulong seed, Action<PairStory> story, Sabotage sabotage = Sabotage.None, string moment = "")
    {
        PairStory? told = null;
        try
        {
            told = new PairStory(seed, sabotage);
            story(told);
            told.Heal();
            SimulationRun.BecomeWhole(told.World);
        }
        catch (SafetyViolation broken) when (sabotage == Sabotage.None)
        {
            throw new SafetyViolation($"seed {seed}{moment}: {broken.Message}\n{string.Join('\n', told?.World.Trace.TakeLast(TraceLinesShownMax) ?? [])}");
        }
    }

    /// <summary>Time passes until this is so.</summary>
    public void Until(string what, Func<bool> condition, long? maxMs = null)
    {
        var endMs = World.Schedule.NowMs + (maxMs ?? 60_000);
        while (!condition())
        {
            Truth.Require(World.Schedule.NowMs < endMs, $"Not in time: {what}. {string.Join("; ", World.Hosts.Select(SimulationRun.Tell))}");
            Pass(1);
        }
    }

    public void Pass(long forMs) => World.Schedule.RunUntil(World.Schedule.NowMs + forMs);

    /// <summary>At the next line of the trace that says so, right after what makes it.</summary>
    public void When(string who, string what, Action then) => awaited.Add((who, what, then));

    /// <summary>Time passes until a line of the trace says so; then this is done.</summary>
    public void At(string who, string what, Action then)
    {
        var done = false;
        When(who, what, () =>
        {
            then();
            done = true;
        });
        Until($"{who}: {what}", () => done);
    }

    public static bool Runs(SimHost host) =>
        host.Machine?.View is { Role: Role.Prim or Role.Alone, Ready: true } && host.Vm.Executes;

    /// <summary>The secondary's process dies, the primary goes on alone and writes.</summary>
    public void SecondaryLeaves()
    {
        Secondary.Crash("leaves");
        Until("the primary goes on alone", () => Primary.Machine!.View is { Role: Role.Alone, Ready: true });
        Pass(1_500);
    }

    public void CutBothWays(long forMs = EverMs)
    {
        World.Cut(Primary, forMs);
        World.Cut(Secondary, forMs);
    }

    public void HealLinks()
    {
        foreach (var host in World.Hosts)
            host.CutUntilMs = host.ReplicationCutUntilMs = host.BeaconsCutUntilMs = 0;
    }

    public void KeepFromArbiter(SimHost host) => host.ArbiterCutUntilMs = World.Schedule.NowMs + EverMs;

    private void Heal()
    {
        World.BeforeEngineStep = null;
        World.Arbiter.FateOf = null;
        World.Arbiter.Heal();
        HealLinks();
        foreach (var host in World.Hosts)
        {
            host.ArbiterCutUntilMs = 0;
            host.Thaw();
            host.RestorePower();
            host.Start();
        }
    }

    private void Heard(string who, string what)
    {
        for (var i = 0; i < awaited.Count; i++)
        {
            if (awaited[i].Who != who || !what.Contains(awaited[i].What, StringComparison.Ordinal))
                continue;
            // Not amid what makes the line: that is one step.
            World.Schedule.After(0, awaited[i].Then);
            awaited.RemoveAt(i--);
        }
    }
}
