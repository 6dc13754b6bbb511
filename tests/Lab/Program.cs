using System.Globalization;
using System.Runtime.Versioning;
using Pollux.Lab;
using Pollux.Lab.Benchmarks;
using Pollux.Lab.Guest;
using Pollux.Lab.Machines;
using Pollux.Lab.Scenarios;
using Pollux.Lab.Soak;

[assembly: SupportedOSPlatform("linux")]

try
{
    switch (args)
    {
        case ["guest", "build"]:
            var image = await GuestImage.BuildAsync();
            Console.WriteLine($"guest: {image.KernelPath}, {image.InitramfsPath}");
            return 0;
        case ["guest", "try"]:
            return await GuestTrial.RunAsync();
        case ["demo"]:
            return await Demo.StartAsync();
        case ["demo", "--stop"]:
            return await Demo.StopAsync();
        case ["demo", "--scenario", "failover"]:
            return await FailoverScenario.RunAsync();
        case ["bench", "replication", .. var options]:
            return await ReplicationBenchmark.RunAsync(BenchmarkOptions.Parse(options));
        case ["bench", "metadata", .. var wishes]:
            string? json = null, directory = null;
            var withLab = true;
            for (var i = 0; i < wishes.Length; i++)
            {
                switch (wishes[i])
                {
                    case "--json" when i + 1 < wishes.Length: json = wishes[++i]; break;
                    case "--directory" when i + 1 < wishes.Length: directory = wishes[++i]; break;
                    case "--no-lab": withLab = false; break;
                    default: throw new LabException($"Unknown option '{wishes[i]}': bench metadata [--json FILE] [--directory DIR] [--no-lab]");
                }
            }
            return await MetadataBenchmark.RunAsync(json, directory, withLab);
        case ["bench", "hot-path"]:
            return await HotPathBenchmark.RunAsync();
        case ["bench", "failover", .. var asked]:
            string? figures = null;
            var withMany = true;
            for (var i = 0; i < asked.Length; i++)
            {
                switch (asked[i])
                {
                    case "--json" when i + 1 < asked.Length: figures = asked[++i]; break;
                    case "--one-module": withMany = false; break;
                    default: throw new LabException($"Unknown option '{asked[i]}': bench failover [--json FILE] [--one-module]");
                }
            }
            return await FailoverBenchmark.RunAsync(figures, withMany);
        case ["soak", var minutes, var seed]:
            return await SoakRun.RunAsync(TimeSpan.FromMinutes(double.Parse(minutes, CultureInfo.InvariantCulture)), ulong.Parse(seed, CultureInfo.InvariantCulture));
        case ["link", "serve"]:
            return LinkProbe.Serve();
        case ["link", "probe", var address, var workload, var seconds]:
            return LinkProbe.Probe(address, workload, seconds);
        case ["clean"]:
            foreach (var id in LabFolder.Abandoned())
            {
                Console.WriteLine($"removing the abandoned lab {id}");
                await LabFolder.RemoveAsync(id);
            }
            return 0;
        default:
            Console.Error.WriteLine("usage: pollux-lab demo [--scenario failover | --stop] | bench replication [OPTIONS] | bench hot-path | bench metadata [OPTIONS] | bench failover [OPTIONS] | soak MINUTES SEED | guest build | guest try | clean");
            return 2;
    }
}
catch (LabException e)
{
    Console.Error.WriteLine("error: " + e.Message);
    return 1;
}
