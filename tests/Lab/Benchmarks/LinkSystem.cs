using System.Globalization;
using System.Text.Json;
using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>The network between the two hosts, with nothing behind it; see <see cref="LinkProbe"/>.</summary>
public sealed class LinkSystem : IBenchmarkSystem
{
    private static readonly TimeSpan StartMax = TimeSpan.FromSeconds(20);

    private readonly LabHost _first;
    private readonly LabHost _second;
    private readonly LabProcess _server;

    private LinkSystem(LabHost first, LabHost second, LabProcess server) => (_first, _second, _server) = (first, second, server);

    public string Name => "link";

    public string? Link => "plaintext";

    private static string Program => typeof(LinkSystem).Assembly.Location;

    public static async Task<LinkSystem> StartAsync(LabHost first, LabHost second)
    {
        var server = second.Spawn("link-probe", ["dotnet", Program, "link", "serve"]);
        await server.WaitForLineAsync("link ready", StartMax);
        return new LinkSystem(first, second, server);
    }

    public async Task<BenchmarkFigures> RunAsync(Workload workload, double seconds)
    {
        int[] server = [_server.ProcessId ?? throw new LabException($"The link probe has ended: {_server.LastWords()}")];
        var before = ProcFs.ProcessorSeconds(server);
        var text = string.Create(CultureInfo.InvariantCulture, $"{seconds}");
        var result = (await _first.ExecAsync(["dotnet", Program, "link", "probe", $"{_second.Address}", workload.Name, text],
            TimeSpan.FromSeconds(30 + seconds))).OrThrow();
        var figures = JsonSerializer.Deserialize<LinkFigures>(result.Output) ?? throw new LabException($"The link probe said nothing: {result.Said}");
        // Both processes also worked during the ramp, at the same pace.
        var perOperation = (ProcFs.ProcessorSeconds(server) - before + figures.ProcessorSeconds) / (seconds + Fio.RampSeconds) / figures.OperationsPerSecond;
        return new BenchmarkFigures(figures.OperationsPerSecond, figures.OperationsPerSecond * workload.BlockBytes / 1e6, figures.P50Us, figures.P99Us,
            perOperation * (1 << 30) / workload.BlockBytes, perOperation * 1000);
    }

    public Task CheckAsync() => Task.CompletedTask;
}
