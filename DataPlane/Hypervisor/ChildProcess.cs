using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>Runs a program to its end within a deadline; after it the program is killed and the outcome is unknown.</summary>
internal static class ChildProcess
{
    /// <summary>Largest output kept, characters: a domain's description has some 10 KiB.</summary>
    private const int OutputMax = 256 * 1024;

    /// <param name="ExitCode">Null if it was killed or could not be started.</param>
    internal readonly record struct Result(int? ExitCode, string Output, string Error);

    public static async Task<Result> RunAsync(
        string file, IReadOnlyList<string> arguments, string? input, TimeSpan deadline, CancellationToken cancel)
    {
        var start = new ProcessStartInfo(file)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            // Answers are matched by their English words.
            Environment = { ["LC_ALL"] = "C" },
        };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);

        using var process = new Process { StartInfo = start };
        try
        {
            process.Start();
        }
        catch (Win32Exception e)
        {
            return new Result(null, "", $"{file} cannot be started: {e.Message}");
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(deadline);
        try
        {
            if (input is not null)
                await process.StandardInput.WriteAsync(input.AsMemory(), limit.Token).ConfigureAwait(false);
            process.StandardInput.Close();
            var output = ReadAsync(process.StandardOutput, limit.Token);
            var error = ReadAsync(process.StandardError, limit.Token);
            await process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
            return new Result(process.ExitCode, await output.ConfigureAwait(false), await error.ConfigureAwait(false));
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            process.Kill(entireProcessTree: true);
            return new Result(null, "", $"{file} {arguments.FirstOrDefault(word => word[0] != '-')} did not end within {deadline.TotalSeconds:0.#} s");
        }
    }

    private static async Task<string> ReadAsync(StreamReader reader, CancellationToken cancel)
    {
        var text = new StringBuilder();
        var buffer = new char[4096];
        while (await reader.ReadAsync(buffer, cancel).ConfigureAwait(false) is > 0 and var count)
        {
            if (text.Length < OutputMax)
                text.Append(buffer, 0, count);
        }

        return text.ToString();
    }
}
