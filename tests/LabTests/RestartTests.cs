using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>The data plane of the primary ends and starts again within the detection time: the same boot of the guest goes on.</summary>
public sealed class RestartTests
{
    /// <summary>Long enough for a start of the process on a busy machine; the default is 30 s.</summary>
    private const int DetectionSeconds = 10;
    private const int Repetitions = 5;

    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    [LabFact]
    public async Task The_vm_outlives_its_data_plane_killed_five_times_in_a_row_and_once_handed_over()
    {
        await using var pair = await PolluxPair.CreateAsync(DetectionSeconds);
        await using var module = await WritingModule.CreateAsync(pair, "vm9", "alpha");
        await module.StartAsync();
        await module.WaitUntilMirroredAsync(SyncMax);
        await module.WaitForRecordsAsync("alpha", more: 50);
        var alpha = pair.Machines["alpha"];
        var boots = module.Serials.Values.Sum(serial => serial.Boots.Count);
        var vm = ExecutionObserver.ProcessOf(alpha, module.Name);
        Assert.NotNull(vm);
        for (var i = 0; i <= Repetitions; i++)
        {
            var process = pair.DataPlanes["alpha"];
            if (i < Repetitions)
            {
                await process.KillAsync();
            }
            else
            {
                Signals.Send(process.ProcessId ?? throw new LabException("The data plane is gone."), Signals.HandOver);
                await process.WaitForEndAsync(SyncMax);
            }

            await pair.StartDataPlaneAsync(alpha);
            await module.WaitForRecordsAsync("alpha", more: 100);
            Assert.Equal(vm, ExecutionObserver.ProcessOf(alpha, module.Name));
            await module.WaitUntilMirroredAsync(SyncMax);
        }

        Assert.Equal(boots, module.Serials.Values.Sum(serial => serial.Boots.Count));
        var verdict = await module.JudgeAsync();
        Assert.Empty(verdict.Wrong);
        Assert.Equal(0ul, verdict.LostRecords);
    }
}
