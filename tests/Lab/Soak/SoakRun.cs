using System.Diagnostics;
using System.Globalization;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;
using Pollux.Lab.Scenarios;

namespace Pollux.Lab.Soak;

/// <summary>
/// Random faults on two crossing modules for some minutes. One or two faults at a time, for some seconds; then everything is healed, and
/// both modules have to be mirrored and write again. The seed chooses faults, hosts and times; what the processes make of them varies.
/// At the end both modules are judged as after every fault of the lab's tests.
/// </summary>
public static class SoakRun
{
    private const int SecondFaultPercent = 25;
    private const int HoldMinMs = 500;
    private const int HoldMaxMs = 8_000;

    /// <returns>0; 1 at any lost record, two running VMs, unequal copies, or a pair that does not become whole.</returns>
    public static async Task<int> RunAsync(TimeSpan time, ulong seed)
    {
        Demo.Say($"Soak for {time.TotalMinutes:0.#} minutes, seed {seed} (again: eng/test soak --minutes {time.TotalMinutes:0.#} --seed {seed})");
        var random = new SeededRandom(seed);
        var strikes = new List<SoakStrike>();
        await using var stage = await SoakStage.CreateAsync(Demo.Say);
        var wrong = new List<string>();
        var clock = Stopwatch.StartNew();
        try
        {
            while (clock.Elapsed < time)
                strikes.Add(await StrikeAsync(stage, random));
        }
        catch (LabException e)
        {
            wrong.Add($"After {strikes.Count} faults: {e.Message}");
        }

        var (lost, judged) = (0ul, 0ul);
        foreach (var module in stage.Modules)
        {
            judged += module.Serials.Values.SelectMany(static serial => serial.Boots)
                .Aggregate(0ul, static (sum, boot) => sum + (boot.Acknowledged is { } range ? range.Last - range.First + 1 : 0));
            wrong.AddRange(module.Observer.Violations.Select(text => $"{module.Name}: two hosts ran the VM: {text}"));
            if (wrong.Count > 0)
                continue;
            var verdict = await module.JudgeAsync();
            lost += verdict.LostRecords;
            wrong.AddRange(verdict.Wrong.Select(text => $"{module.Name}: {text}"));
        }

        Print(strikes, clock.Elapsed, judged, lost, stage);
        foreach (var text in wrong)
            Console.Error.WriteLine("error: " + text);
        return wrong.Count == 0 && lost == 0 ? 0 : 1;
    }

    private static async Task<SoakStrike> StrikeAsync(SoakStage stage, SeededRandom random)
    {
        await stage.CrossAsync();
        var before = await stage.PrimariesAsync();
        var faults = new List<SoakFault> { random.Of(SoakFault.All) };
        if (random.Between(1, 100) <= SecondFaultPercent)
            faults.Add(random.Of(SoakFault.All));
        var hosts = faults.Select(_ => random.Of(stage.Pair.Machines.Hosts)).ToList();
        var holdMs = random.Between(HoldMinMs, HoldMaxMs);
        var betweenMs = random.Between(0, HoldMinMs);
        foreach (var watch in stage.Watches)
            watch.TakeLongest();
        foreach (var (fault, host) in faults.Zip(hosts))
        {
            await fault.Strike(stage, host);
            await Task.Delay(betweenMs);
        }
        await Task.Delay(holdMs);
        await stage.HealAsync();
        var after = await stage.PrimariesAsync();
        var strike = new SoakStrike(string.Join(" + ", faults.Select(static fault => fault.Name)), holdMs,
            before.Zip(after).Count(static pair => pair.First != pair.Second), [.. stage.Watches.Select(static watch => watch.TakeLongest())]);
        Demo.Say($"{strike} ({string.Join(", ", hosts.Select(static host => host.Name))})");
        return strike;
    }

    private static void Print(IReadOnlyList<SoakStrike> strikes, TimeSpan elapsed, ulong judged, ulong lost, SoakStage stage)
    {
        Console.WriteLine();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{"fault",-48} {"times",5} {"moved",5} {"without service, s: median",26} {"max",6}   (of {stage.Modules.Count} modules, detection {SoakStage.DetectionSeconds} s)"));
        foreach (var kind in strikes.GroupBy(static strike => strike.Name).OrderBy(static kind => kind.Key, StringComparer.Ordinal))
        {
            var gaps = kind.SelectMany(static strike => strike.WithoutService).Select(static gap => gap.TotalSeconds).Order().ToList();
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{kind.Key,-48} {kind.Count(),5} {kind.Sum(static strike => strike.Moved),5} {gaps[gaps.Count / 2],26:0.0} {gaps[^1],6:0.0}"));
        }
        Console.WriteLine();
        Console.WriteLine($"{strikes.Count} times faults in {elapsed.TotalSeconds:0} s, {strikes.Sum(static strike => strike.Moved)} times a VM moved; "
            + $"{judged} acknowledged records checked, {lost} lost; "
            + $"{stage.Modules.Sum(static module => module.Observer.Violations.Count)} moments with two running VMs in {stage.Modules.Sum(static module => module.Observer.Samples)} looks");
    }
}

/// <param name="Name">The faults.</param>
/// <param name="HoldMs">For how long, milliseconds.</param>
/// <param name="Moved">Modules that had another primary afterwards.</param>
/// <param name="WithoutService">Each module's longest time without an acknowledged record, the healing included.</param>
public sealed record SoakStrike(string Name, int HoldMs, int Moved, IReadOnlyList<TimeSpan> WithoutService)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Name} for {HoldMs / 1000.0:0.0} s: {Moved} moved; without service {string.Join(" and ", WithoutService.Select(static gap => gap.TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture)))} s");
}
