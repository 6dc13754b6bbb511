using System.Globalization;
using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>A module with two directories on two file systems, on the real product.</summary>
public sealed class SeveralDirectoriesTests
{
    private const int DetectionSeconds = 3;
    private const string DataFolder = LabHost.ModulesFolder + "/data";

    private static readonly TimeSpan WorkMax = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(90);

    /// <summary>Appends numbered lines, each flushed before it is printed: a printed number is one that has to survive.</summary>
    private const string Writer = """
        n=0
        while :; do
            n=$((n + 1))
            printf '%08d\n' $n | dd of=log bs=9 oflag=append conv=notrunc,fsync status=none
            mkdir -p d$((n % 7)) && printf $n > d$((n % 7))/new && mv d$((n % 7))/new d$((n % 5))x 2> /dev/null || true
            echo $n
        done
        """;

    [LabFact]
    public async Task Power_off_of_the_primary_loses_nothing_in_any_directory_and_both_are_resynced()
    {
        await using var pair = await PolluxPair.CreateAsync(DetectionSeconds, prepare: async machines =>
        {
            foreach (var host in machines.Hosts)
                await LimitedDisk.CreateAsync(host, 256L << 20, "data");
        });
        var module = await ServedModule.CreateAsync(pair, "two", "alpha", DataFolder + "/two");
        await module.WaitUntilMirroredAsync(SyncMax);
        var (primary, survivor) = (pair.Machines["alpha"], pair.Machines["beta"]);
        foreach (var host in pair.Machines.Hosts)
            Assert.NotEqual(await DeviceAsync(host, module.Folders[0]), await DeviceAsync(host, module.Folders[1]));

        var writers = module.Folders.Select((folder, i) => primary.Spawn($"writer-{i}", ["bash", "-c", $"cd '{folder}'\n{Writer}"])).ToArray();
        await Eventually.TrueAsync("both writers have flushed for a while", WorkMax, () => writers.All(writer => Last(writer) >= 150),
            () => string.Join('\n', writers.Select(writer => writer.LastWords(5))));
        await primary.PowerOffAsync();
        var flushed = writers.Select(Last).ToArray();

        var status = await module.WaitForAsync("the survivor serves the module", SyncMax, status => status.ReadyPrimary == survivor.Name);
        Assert.Equal("ALONE", status.On(survivor.Name)!.Role);
        for (var i = 0; i < module.Folders.Count; i++)
        {
            var log = $"{module.Folders[i]}/log";
            var lines = long.Parse((await survivor.CheckAsync("bash", "-c", $"wc -l < '{log}'")).Output, CultureInfo.InvariantCulture);
            Assert.True(lines >= flushed[i], $"{log}: {flushed[i]} lines were flushed, {lines} are there");
            await survivor.CheckAsync("bash", "-c", $"seq -f %08.0f 1 {lines} | cmp - '{log}'");
            await survivor.CheckAsync("bash", "-c", $"echo after >> '{module.Folders[i]}/after' && sync '{module.Folders[i]}/after'");
        }

        await pair.BootAsync(primary);
        await module.WaitUntilMirroredAsync(SyncMax);
        Assert.Empty(await module.CompareAsync());
        (await pair.CliAsync("module", "stop", module.Key, "--wait", "60s")).OrThrow();
        foreach (var folder in module.Folders)
            Assert.Equal("after\n", await File.ReadAllTextAsync(Path.Combine(primary.OnMachine(folder), "after")));
    }

    private static async Task<string> DeviceAsync(LabHost host, string folder) =>
        (await Shell.CheckAsync("stat", "-c", "%d", host.OnMachine(folder))).Output.Trim();

    private static long Last(LabProcess writer) =>
        writer.Lines.Reverse().Select(line => long.TryParse(line.Text, CultureInfo.InvariantCulture, out var number) ? number : 0).FirstOrDefault(number => number > 0);
}
