using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;
using Pollux.Lab.Scenarios;

namespace Pollux.Lab.Benchmarks;

/// <summary>
/// Does an operation of the guest allocate managed memory, anywhere on its way? Both data planes of a pair say how much they have allocated
/// since their start; what they allocate without load (beacons, reports, the question itself) is measured first and taken off.
/// </summary>
internal static class HotPathBenchmark
{
    /// <summary>Bytes per operation. The smallest object of the runtime takes 24; below half of that, not every second operation makes one.</summary>
    private const double BytesMax = 12;

    private const int DetectionSeconds = 30;
    private const long FileBytes = 256 << 20;
    private const string StatusSocket = "/run/pollux/host.sock";

    private static readonly string[] Workloads = ["w4k-q1", "w4k-q32", "w4k-sync-q1", "w4k-sync-8j", "w64k-q8", "w1m-q8", "r4k-q1", "r4k-q32"];

    /// <summary>Long enough for tiered compilation to be through with what the operations run.</summary>
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan Measured = TimeSpan.FromSeconds(3);

    /// <returns>1 if any workload allocates per operation.</returns>
    public static async Task<int> RunAsync()
    {
        var wrong = 0;
        foreach (var link in new[] { "plaintext", "tls" })
        {
            Demo.Say($"A pair with a mirrored module, link {link}");
            await using var pair = await PolluxPair.CreateAsync(DetectionSeconds, clusterOptions: ["--link", link]);
            var module = await MirroredModule.CreateAsync(pair, "bench", FileBytes);
            var system = await module.AsSystemAsync("pollux", link, FileBytes);
            foreach (var name in Workloads)
            {
                var workload = Workload.Named(name);
                await system.RunAsync(workload, WarmUp.TotalSeconds);
                var idleBytesPerSecond = await IdleAsync(module);
                var (primary, secondary) = await AllocatedAsync(module);
                var begin = DateTimeOffset.UtcNow;
                var figures = await system.RunAsync(workload, Measured.TotalSeconds);
                var elapsed = (DateTimeOffset.UtcNow - begin).TotalSeconds;
                var (primaryAfter, secondaryAfter) = await AllocatedAsync(module);
                var operations = figures.Iops * (Measured.TotalSeconds + Fio.RampSeconds);
                var onPrimary = (primaryAfter - primary - idleBytesPerSecond.Primary * elapsed) / operations;
                var onSecondary = (secondaryAfter - secondary - idleBytesPerSecond.Secondary * elapsed) / operations;
                var holds = onPrimary <= BytesMax && onSecondary <= BytesMax;
                wrong += holds ? 0 : 1;
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{(holds ? "yes" : "NO "),-4} {link,-9} {name,-12} {operations,9:0} operations; bytes allocated per operation: primary {onPrimary,8:0.0}, secondary {onSecondary,8:0.0}   at most {BytesMax}"));
            }
            await system.CheckAsync();
        }
        Console.WriteLine(wrong == 0 ? "Nothing is allocated per operation." : $"{wrong} workloads allocate per operation.");
        return wrong == 0 ? 0 : 1;
    }

    private static async Task<(double Primary, double Secondary)> IdleAsync(MirroredModule module)
    {
        var (primary, secondary) = await AllocatedAsync(module);
        var begin = DateTimeOffset.UtcNow;
        await Task.Delay(Measured);
        var (primaryAfter, secondaryAfter) = await AllocatedAsync(module);
        var elapsed = (DateTimeOffset.UtcNow - begin).TotalSeconds;
        return ((primaryAfter - primary) / elapsed, (secondaryAfter - secondary) / elapsed);
    }

    private static async Task<(long Primary, long Secondary)> AllocatedAsync(MirroredModule module) =>
        (await AllocatedBytesAsync(module.Primary), await AllocatedBytesAsync(module.Secondary));

    private static async Task<long> AllocatedBytesAsync(LabHost host)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(host.OnMachine(StatusSocket)));
        await using var stream = new NetworkStream(socket);
        // No question: the host answers when its end is told.
        socket.Shutdown(SocketShutdown.Send);
        using var status = await JsonDocument.ParseAsync(stream);
        return status.RootElement.GetProperty("allocatedBytes").GetInt64();
    }
}
