# needs: java javac
cat >Main.java <<'END'
import java.io.*; import java.net.*; import java.nio.file.*; import java.security.*; import java.util.concurrent.*;
public class Main {
	public static void main(String[] a) throws Exception {
		try (ServerSocket s = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
			Executors.newCachedThreadPool(r -> { Thread t = new Thread(r); t.setDaemon(true); return t; }).submit(() -> new Socket(s.getInetAddress(), s.getLocalPort()));
			s.accept();
		}
		Process p = new ProcessBuilder("echo", "x").start();
		if (p.waitFor() != 0) throw new Exception("child");
		WatchService w = FileSystems.getDefault().newWatchService();
		Path.of(".").register(w, StandardWatchEventKinds.ENTRY_CREATE);
		Files.writeString(Path.of("new"), "x");
		if (w.poll(10, TimeUnit.SECONDS) == null) throw new Exception("watch");
		new SecureRandom().nextInt();
		javax.net.ssl.SSLContext.getDefault();
		System.out.println("all of it");
	}
}
END
javac Main.java
java -cp . Main | grep -x 'all of it'
