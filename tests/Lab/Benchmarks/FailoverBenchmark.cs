using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;
using Pollux.Lab.Scenarios;

namespace Pollux.Lab.Benchmarks;

/// <summary>How long an application is without service, at the shortest detection time (2 s): a power-off of the host that runs it, a planned swap,
/// and a dead host with as many modules as a cluster may have. On two cores that all hosts share; the guest runs under software emulation.</summary>
public static class FailoverBenchmark
{
    private const int DetectionSeconds = 2;
    private const int PowerOffs = 3;
    private const int Swaps = 3;
    private const int ModulesMax = 32;

    /// <summary>Commands at a time while modules are made: they wait for the control plane most of the time.</summary>
    private const int CommandsAtOnce = 4;

    private const double DecidedBarSeconds = 2.5;
    private const double ProcessBarSeconds = 4;
    private const double SwapBarSeconds = 1;
    private const double ManyDecidedBarSeconds = DetectionSeconds + 2;

    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(120);
    private static readonly TimeSpan HostCheckPause = TimeSpan.FromMilliseconds(200);

    public static async Task<int> RunAsync(string? jsonPath, bool withMany)
    {
        await using var pair = await PolluxPair.CreateAsync(DetectionSeconds, report: Demo.Say);
        await using var module = await WritingModule.CreateAsync(pair, "vm1", "alpha");
        await module.StartAsync();
        await module.WaitUntilMirroredAsync(Deadline);

        var powerOffs = new List<PowerOffFigures>();
        for (var round = 0; round < PowerOffs; round++)
            powerOffs.Add(await PowerOffAsync(pair, module));
        var swaps = new List<SwapFigures>();
        for (var round = 0; round < Swaps; round++)
            swaps.Add(await SwapAsync(pair, module));
        var many = withMany ? await ManyAsync(pair, module) : null;
        var verdict = await module.JudgeAsync();
        foreach (var wrong in verdict.Wrong)
            Console.Error.WriteLine("error: " + wrong);

        var bars = Bars(powerOffs, swaps, many);
        Console.WriteLine();
        foreach (var line in powerOffs.Select(static one => one.ToString()).Concat(swaps.Select(static one => one.ToString())).Append(many?.ToString() ?? "").Where(static line => line.Length > 0))
            Console.WriteLine(line);
        Console.WriteLine();
        foreach (var bar in bars)
            Console.WriteLine(bar);
        if (jsonPath is not null)
        {
            await File.WriteAllTextAsync(jsonPath, JsonSerializer.Serialize(new FailoverReport(Machine.This(), DetectionSeconds, powerOffs, swaps, many, bars), FailoverReport.Json));
            Console.WriteLine($"\nFigures written to {jsonPath}");
        }
        return verdict.Wrong.Count == 0 ? 0 : 1;
    }

    private static IReadOnlyList<Bar> Bars(IReadOnlyList<PowerOffFigures> powerOffs, IReadOnlyList<SwapFigures> swaps, ManyFigures? many)
    {
        var bars = new List<Bar>();
        AtMost("power-off: takeover decided, s, worst", powerOffs.Max(static one => one.DecidedSeconds), DecidedBarSeconds);
        AtMost("power-off: the VM's process runs, s, worst", powerOffs.Max(static one => one.ProcessSeconds), ProcessBarSeconds);
        AtMost("swap: gap beside stop and start of the guest, s, worst", swaps.Max(static one => one.BetweenSeconds), SwapBarSeconds);
        if (many is not null)
            AtMost($"power-off with {many.Modules} modules: the last is decided, s", many.LastDecidedSeconds, ManyDecidedBarSeconds);
        return bars;

        void AtMost(string name, double value, double limit) => bars.Add(new(name, Math.Round(value, 3), limit, "at most", value <= limit));
    }

    private static async Task<PowerOffFigures> PowerOffAsync(PolluxPair pair, WritingModule module)
    {
        var (primary, survivor) = await HostsAsync(pair, module);
        await module.WaitForRecordsAsync(primary.Name, more: 100);
        var zero = await primary.PowerOffAsync();
        var boot = await module.WaitForBootAsync(survivor.Name, zero);
        var process = module.Observer.ProcessSeenAt(survivor.Name) ?? throw new LabException("The guest speaks, but no process of it was seen.");
        var decided = DecidedAt(await module.WaitForAsync("the survivor tells its history", Deadline, status => DecidedAt(status, survivor.Name, zero) is not null), survivor.Name, zero);
        await pair.BootAsync(primary);
        await module.WaitUntilMirroredAsync(Deadline);
        var figures = new PowerOffFigures(Seconds(decided!.Value - zero), Seconds(process - zero), Seconds(boot.FirstAcknowledgedAt!.Value - zero));
        Demo.Say(figures.ToString());
        return figures;
    }

    private static async Task<SwapFigures> SwapAsync(PolluxPair pair, WritingModule module)
    {
        var (primary, peer) = await HostsAsync(pair, module);
        await module.WaitForRecordsAsync(primary.Name, more: 100);
        var asked = DateTimeOffset.UtcNow;
        await module.SwapAsync();
        var boot = await module.WaitForBootAsync(peer.Name, asked);
        var last = module.Serials[primary.Name].Last?.LastOutputAt ?? asked;
        var gone = module.Observer.ProcessGoneAt(primary.Name) ?? throw new LabException("The former VM's process was not seen to end.");
        var process = module.Observer.ProcessSeenAt(peer.Name) ?? throw new LabException("The guest speaks, but no process of it was seen.");
        await module.WaitUntilMirroredAsync(Deadline);
        var figures = new SwapFigures(
            Seconds(gone - last), Seconds(process - gone), Seconds(boot.FirstAcknowledgedAt!.Value - process), Seconds(boot.FirstAcknowledgedAt!.Value - last));
        Demo.Say(figures.ToString());
        return figures;
    }

    /// <summary>All modules of a dead host; but for one they have no VM, which would not fit into a small machine.</summary>
    private static async Task<ManyFigures> ManyAsync(PolluxPair pair, WritingModule module)
    {
        var (primary, survivor) = await HostsAsync(pair, module);
        Demo.Say($"{ModulesMax - 1} more modules on {primary.Name}");
        var names = Enumerable.Range(1, ModulesMax - 1).Select(static number => string.Create(CultureInfo.InvariantCulture, $"m{number:00}")).ToList();
        await Parallel.ForEachAsync(names, new ParallelOptions { MaxDegreeOfParallelism = CommandsAtOnce },
            async (name, _) => await ServedModule.CreateAsync(pair, name, primary.Name));
        await WaitForAllAsync(pair, "all modules are mirrored", static status => status.IsMirrored);
        var zero = await primary.PowerOffAsync();
        var modules = await WaitForAllAsync(pair, "all modules run on the survivor", status =>
            status.On(survivor.Name) is { Role: "ALONE", Ready: true } && DecidedAt(status, survivor.Name, zero) is not null);
        var decided = modules.Select(status => Seconds(DecidedAt(status, survivor.Name, zero)!.Value - zero)).Order().ToList();
        var ready = modules.Select(status => Seconds(LastReadyAt(status, survivor.Name) - zero)).Order().ToList();
        await pair.BootAsync(primary);
        await WaitForAllAsync(pair, "all modules are mirrored again", static status => status.IsMirrored);
        var figures = new ManyFigures(decided.Count, decided[0], decided[^1], ready[^1]);
        Demo.Say(figures.ToString());
        return figures;
    }

    private static async Task<IReadOnlyList<ModuleStatus>> WaitForAllAsync(PolluxPair pair, string what, Func<ModuleStatus, bool> condition)
    {
        IReadOnlyList<ModuleStatus> last = [];
        return await Eventually.GetAsync(what, Deadline, async () =>
        {
            last = (await pair.Api.TryGetStatusAsync())?.Clusters?.Single(static one => one.Name == PolluxPair.Cluster).Modules ?? last;
            return last.Count > 0 && last.All(condition) ? last : null;
        }, () => $"{last.Count(condition)} of {last.Count}; {last.FirstOrDefault(status => !condition(status))}", HostCheckPause);
    }

    /// <summary>When the survivor had stored that the arbiter granted its takeover, by its own history (all clocks are one).</summary>
    private static DateTimeOffset? DecidedAt(ModuleStatus status, string survivor, DateTimeOffset zero) => EventsOf(status, survivor)
        .Where(entry => entry.Text.StartsWith("ALONE", StringComparison.Ordinal))
        .Select(static entry => (DateTimeOffset?)DateTimeOffset.FromUnixTimeMilliseconds(entry.UnixMs)).Where(at => at >= zero).Min();

    private static DateTimeOffset LastReadyAt(ModuleStatus status, string host) => EventsOf(status, host)
        .Where(static entry => entry.Text.StartsWith("ALONE ready", StringComparison.Ordinal))
        .Select(static entry => DateTimeOffset.FromUnixTimeMilliseconds(entry.UnixMs)).Max();

    private static IEnumerable<EventStatus> EventsOf(ModuleStatus status, string host) =>
        status.On(host)?.Events?.Where(static entry => entry.Kind == "role.changed") ?? [];

    private static async Task<(LabHost Primary, LabHost Peer)> HostsAsync(PolluxPair pair, WritingModule module)
    {
        var status = await module.WaitForAsync("both hosts are in sync", Deadline, static one => one.IsMirrored);
        var primary = pair.Machines[status.ReadyPrimary!];
        return (primary, pair.Machines.Hosts.Single(host => host != primary));
    }

    private static double Seconds(TimeSpan time) => Math.Round(time.TotalSeconds, 3);
}

/// <summary>From the moment before the cable goes, seconds.</summary>
public sealed record PowerOffFigures(
    [property: JsonPropertyName("decided_s")] double DecidedSeconds, [property: JsonPropertyName("process_s")] double ProcessSeconds,
    [property: JsonPropertyName("first_record_s")] double FirstRecordSeconds)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"power-off: takeover decided after {DecidedSeconds:0.000} s, process of the VM after {ProcessSeconds:0.000} s, first new record after {FirstRecordSeconds:0.000} s");
}

/// <param name="StopSeconds">From the last record to the end of the former process.</param>
/// <param name="BetweenSeconds">To the new process: all that the product takes.</param>
/// <param name="StartSeconds">To the first new record.</param>
public sealed record SwapFigures(
    [property: JsonPropertyName("stop_s")] double StopSeconds, [property: JsonPropertyName("between_s")] double BetweenSeconds,
    [property: JsonPropertyName("start_s")] double StartSeconds, [property: JsonPropertyName("gap_s")] double GapSeconds)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"swap: {GapSeconds:0.000} s without a record = guest stops {StopSeconds:0.000} + between {BetweenSeconds:0.000} + guest starts {StartSeconds:0.000}");
}

/// <summary>Seconds from the power-off.</summary>
public sealed record ManyFigures(
    [property: JsonPropertyName("modules")] int Modules, [property: JsonPropertyName("first_decided_s")] double FirstDecidedSeconds,
    [property: JsonPropertyName("last_decided_s")] double LastDecidedSeconds, [property: JsonPropertyName("last_ready_s")] double LastReadySeconds)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"power-off with {Modules} modules: first decided after {FirstDecidedSeconds:0.000} s, last after {LastDecidedSeconds:0.000} s, last ready after {LastReadySeconds:0.000} s");
}

public sealed record FailoverReport(
    [property: JsonPropertyName("machine")] Machine Machine, [property: JsonPropertyName("detection_s")] int DetectionSeconds,
    [property: JsonPropertyName("power_offs")] IReadOnlyList<PowerOffFigures> PowerOffs, [property: JsonPropertyName("swaps")] IReadOnlyList<SwapFigures> Swaps,
    [property: JsonPropertyName("many")] ManyFigures? Many, [property: JsonPropertyName("bars")] IReadOnlyList<Bar> Bars)
{
    internal static readonly JsonSerializerOptions Json = new() { WriteIndented = true };
}
