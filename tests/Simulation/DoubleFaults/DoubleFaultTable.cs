using System.Text;

namespace Pollux.Tests.Simulation.DoubleFaults;

/// <summary>Every fault alone and every ordered pair of two, written as docs/double-faults.md.</summary>
internal sealed class DoubleFaultTable
{
    /// <summary>Each with clocks, delays and a detection time of its own. What differs among them is written with a slash.</summary>
    private static readonly ulong[] Seeds = [1, 2, 3];

    private readonly Dictionary<(PairFault? First, PairFault Second), string> cells = [];
    private readonly List<(bool WithDisk, DoubleFaultOutcome Outcome)> outcomes = [];

    public static DoubleFaultTable Make()
    {
        var table = new DoubleFaultTable();
        var pairs = PairFault.All.SelectMany(second => PairFault.All.Where(second.MayFollow).Select(first => ((PairFault?)first, second)))
            .Concat(PairFault.All.Select(fault => ((PairFault?)null, fault))).ToList();
        var gate = new Lock();
        Parallel.ForEach(pairs, pair =>
        {
            var (first, second) = pair;
            var told = new List<string>();
            foreach (var seed in Seeds)
            {
                try
                {
                    var outcome = DoubleFaultRun.Run(seed, first, second);
                    told.Add(outcome.ServedBy ?? Returns(seed, first, second));
                    lock (gate)
                        table.outcomes.Add((first?.OfDisk == true || second.OfDisk, outcome));
                }
                catch (Model.SafetyViolation broken)
                {
                    throw new Model.SafetyViolation($"{first?.Name ?? "nothing"}, then {second.Name}, seed {seed}: {broken.Message}");
                }
            }

            lock (gate)
                table.cells[(first, second)] = string.Join('/', told.Distinct().Order(StringComparer.Ordinal));
        });
        return table;
    }

    public int Runs => outcomes.Count;

    /// <summary>The longest pause of what went on being served, in detection times.</summary>
    public double PauseMax => outcomes.Where(run => run.Outcome.ServedBy is not null).Max(run => (double)run.Outcome.PauseMs / run.Outcome.DetectionMs);

    /// <summary>From the end of the faults to PRIM and SECOND, in detection times.</summary>
    public double WholeAfterMax => outcomes.Where(run => !run.WithDisk).Max(run => (double)run.Outcome.WholeAfterMs / run.Outcome.DetectionMs);

    /// <summary>The same where a disk has failed, which is tried again after a pause of its own, milliseconds.</summary>
    public long WholeAfterDiskMsMax => outcomes.Where(run => run.WithDisk).Max(run => run.Outcome.WholeAfterMs);

    private static string Returns(ulong seed, PairFault? first, PairFault second)
    {
        if (first is null)
            return "–";
        var byFirst = DoubleFaultRun.ServedAfter(seed, first, second, first);
        var bySecond = DoubleFaultRun.ServedAfter(seed, first, second, second);
        return (byFirst, bySecond) switch
        {
            (true, true) => "–1 or 2",
            (true, false) => "–1",
            (false, true) => "–2",
            _ => "–1+2",
        };
    }

    public override string ToString()
    {
        var text = new StringBuilder(DoubleFaultWords.Before);
        text.Append("## One fault\n\n| fault | the VM runs on |\n|---|---|\n");
        foreach (var fault in PairFault.All)
            text.Append($"| {fault.Name} | {cells[(null, fault)]} |\n");
        text.Append("\n## Two faults\n\n").Append(DoubleFaultWords.Legend);
        text.Append('|').Append(" first ↓ second → |").AppendJoin("", PairFault.All.Select((_, index) => $" {index + 1} |")).Append('\n');
        text.Append('|').Append("---|").AppendJoin("", PairFault.All.Select(_ => "---|")).Append('\n');
        for (var index = 0; index < PairFault.All.Count; index++)
        {
            var first = PairFault.All[index];
            text.Append($"| {index + 1} {first.Name} |")
                .AppendJoin("", PairFault.All.Select(second => $" {cells.GetValueOrDefault((first, second), "·")} |")).Append('\n');
        }

        var told = cells.Where(cell => cell.Key.First is not null).ToList();
        var stopped = told.Where(cell => cell.Value.Contains('–', StringComparison.Ordinal)).ToList();
        text.Append($"\nOf {told.Count} ordered pairs {told.Count - stopped.Count} leave the VM running and {stopped.Count} stop it, at least in some runs.\n");
        return text.Append(DoubleFaultWords.After).ToString();
    }
}
