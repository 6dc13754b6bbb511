using System.Collections.Immutable;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Restores of the arbiter's database from older copies, each declared, and the recovery by the production decision (S10). No operator helps: a
/// pair of which one host does not report waits.</summary>
internal sealed partial class SimArbiter
{
    private const long AskEveryMs = 1_000;
    private static readonly ModuleSpec Spec = new("/vms/m", "a", null);

    private readonly List<ArbiterRecord?> past = [null];
    private readonly Dictionary<string, HostTestimony> testimonies = [];
    private ArbiterRecord? memory;
    private long generation;
    private bool recovering;

    public long Recoveries { get; private set; }

    /// <summary>Restores may come: nobody declares a copy then, since a restore may make that word void, and with it what counts as lost.</summary>
    public bool IsRestored { get; set; }

    /// <summary>What a restore that nobody declares does: the older copy counts. For a test that shows what it breaks.</summary>
    public bool BelievesTheDatabase { get; set; }

    /// <param name="choose">Of so many copies; the first one is no database at all.</param>
    /// <param name="lateMs">How long a host takes until it is back and has reported.</param>
    public void Restore(Func<int, int> choose, Func<long> lateMs)
    {
        // A real host has its first record when the module is opened there; without one it would be for an operator.
        if (world.Hosts.Any(host => (host.Machine?.State ?? host.Stored).Record.Epoch == 0))
            return;
        memory = past[choose(past.Count)];
        if (BelievesTheDatabase)
        {
            Record = memory ?? Record;
            world.Say("fault", $"the database is restored to epoch {Record.Epoch}, and believed");
            return;
        }
        generation++;
        recovering = true;
        testimonies.Clear();
        world.Say("fault", $"the database is restored: it remembers {(memory is null ? "nothing" : $"epoch {memory.Epoch}")}");
        foreach (var host in world.Hosts)
            AskToRecover(host, generation, lateMs);
    }

    private void Remember(ArbiterRecord record)
    {
        if (past[^1] != record)
            past.Add(record);
    }

    private void AskToRecover(SimHost host, long asked, Func<long> lateMs) => world.Schedule.After(lateMs(), () =>
    {
        if (!recovering || generation != asked)
            return;
        if (Reachable(host) && host.Machine is { } machine)
        {
            var record = machine.State.Record;
            testimonies[host.Name] = new HostTestimony("c/m", host.Name, true, new ModuleMemory(
                "m", Spec, true, new RecordView(record.Incarnation, record.Epoch, record.Primary, record.InSync) { Declared = record.Declared }, machine.State.DataState.ToString()));
            world.Say("arbiter", $"{host.Name} reports {record}");
            Recover();
        }
        if (recovering)
            world.Schedule.After(AskEveryMs, () => AskToRecover(host, asked, lateMs));
    });

    private void Recover()
    {
        ImmutableArray<HostTestimony> both = [.. world.Hosts.Select(host => testimonies.GetValueOrDefault(host.Name) ?? new HostTestimony("c/m", host.Name, false, null))];
        var step = RecordRecovery.Decide("c/m", memory, both, null, world.Random.Guid());
        if (step is not RecoveryStep.Decided decided)
            return;
        Record = decided.Record;
        recovering = false;
        Recoveries++;
        Remember(Record);
        world.Say("arbiter", $"recovered: epoch {Record.Epoch}, primary {Record.Primary}, in sync {string.Join(",", Record.InSync)}. {decided.Cause}");
    }
}
